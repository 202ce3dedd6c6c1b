// A stock js-libp2p node on a leash: one JSON command a line on stdin, one JSON answer a line on stdout.
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { decode, encode } from '@msgpack/msgpack'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign', emitSelf: false })
  }
})

// A node that takes no messages is let go: read what comes, say nothing.
await node.handle('/dpin/control/1', (stream) => { stream.addEventListener('message', () => {}) })

const heard = []
node.services.pubsub.addEventListener('message', ({ detail }) => {
  heard.push({ topic: detail.topic, from: String(detail.from), data: Buffer.from(detail.data).toString('hex') })
})

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// One frame there, one frame back: a length (u32, big-endian) and that many bytes.
async function ask (peer, question) {
  const body = encode(question)
  const frame = Buffer.alloc(4 + body.length)
  frame.writeUInt32BE(body.length)
  frame.set(body, 4)
  const stream = await node.dialProtocol(peer, '/dpin/ask/1')
  let whole = Buffer.alloc(0)
  const answer = new Promise((resolve, reject) => {
    stream.addEventListener('message', ({ data }) => {
      whole = Buffer.concat([whole, data.subarray()])
      if (whole.length >= 4 && whole.length >= 4 + whole.readUInt32BE(0)) {
        resolve(decode(whole.subarray(4, 4 + whole.readUInt32BE(0))))
      }
    })
    stream.addEventListener('close', ({ error }) => reject(error ?? new Error('closed without an answer')))
  })
  stream.send(frame)
  return await answer
}

const hex = (value) =>
  value instanceof Uint8Array ? Buffer.from(value).toString('hex')
    : Array.isArray(value) ? value.map(hex) : typeof value === 'bigint' ? Number(value) : value

let peer
const commands = {
  async dial ({ address }) {
    const connection = await node.dial(multiaddr(address))
    peer = connection.remotePeer
    return { peer: String(peer) }
  },
  async identified () {
    for (let turn = 0; turn < 100; turn++) {
      const known = await node.peerStore.get(peer)
      if (known.protocols.length > 0) {
        return { protocols: known.protocols, agent: Buffer.from(known.metadata.get('AgentVersion') ?? '').toString() }
      }
      await sleep(50)
    }
    throw new Error('never identified')
  },
  async ping () { return { ms: await node.services.ping.ping(peer) } },
  async subscribe ({ topic }) { node.services.pubsub.subscribe(topic); return {} },
  async subscribers ({ topic }) { return { peers: node.services.pubsub.getSubscribers(topic).map(String) } },
  async publish ({ topic, data }) {
    const sent = await node.services.pubsub.publish(topic, Buffer.from(data, 'hex'))
    return { recipients: sent.recipients.map(String) }
  },
  async heard () { return { heard } },
  async ask ({ question }) { return { answer: hex(await ask(peer, question)) } },
  async stop () { await node.stop(); setTimeout(() => process.exit(0), 10); return {} }
}

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)
say({ id: String(node.peerId), addresses: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    say({ ok: await commands[command.do](command) })
  } catch (error) {
    say({ error: String(error?.stack ?? error) })
  }
}
process.exit(0)
