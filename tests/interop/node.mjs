// A stock js-libp2p node on a leash: one JSON command a line on stdin, one JSON answer a line on stdout.
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { decode, encode } from '@msgpack/msgpack'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { addressKey, addressesIn, blobCid, latest, protocolOf, validatorOf, write } from './kad.mjs'

// With the id of a network on the command line (hex), it takes part in that network's Kad-DHT.
const chain = Buffer.from(process.argv[2] ?? '', 'hex')
const slow = { minTimeout: 20_000 } // The machine may be busy.
const dht = () => kadDHT({
  protocol: protocolOf(chain),
  clientMode: false,
  peerInfoMapper: (info) => info,
  networkDialTimeout: slow,
  pingNewContactTimeout: slow,
  onPeerConnectTimeout: 30_000,
  querySelfInterval: 2_000,
  validators: { dpin: validatorOf(chain) },
  selectors: { dpin: latest }
})

const privateKey = await generateKeyPair('Ed25519')
const node = await createLibp2p({
  privateKey,
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify({ timeout: 30_000 }),
    ping: ping({ timeout: 30_000 }),
    pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign', emitSelf: false }),
    ...(chain.length ? { dht: dht() } : {})
  }
})

// A node that takes no messages is let go, and so is one that is silent: read what comes, say "alive".
await node.handle('/dpin/control/1', (stream) => { stream.addEventListener('message', () => {}) })
node.addEventListener('peer:identify', ({ detail }) => {
  node.dialProtocol(detail.peerId, '/dpin/control/1').then((stream) => {
    const turn = setInterval(() => stream.send(Buffer.alloc(4)), 10_000)
    stream.addEventListener('close', () => clearInterval(turn))
  }).catch(() => {})
})

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
    for (let turn = 0; turn < 600; turn++) {
      const known = await node.peerStore.get(peer)
      if (known.metadata.has('AgentVersion')) {
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
  async known () { return { peers: node.services.dht.routingTable.size } },
  async putAddress () {
    const addresses = node.getMultiaddrs().map(String)
    const value = await write(chain, privateKey, addresses, Date.now() + 1_800_000)
    const errors = []
    let kept = 0
    for await (const event of node.services.dht.put(addressKey(node.peerId), value)) {
      if (event.name === 'PEER_RESPONSE' && event.messageName === 'PUT_VALUE') kept++
      if (event.name === 'QUERY_ERROR') errors.push(String(event.error))
    }
    return { kept, errors, addresses }
  },
  async getAddress ({ of }) {
    let addresses = []
    for await (const event of node.services.dht.get(addressKey(of))) {
      if (event.name === 'VALUE') addresses = addressesIn(event.value)
    }
    return { addresses }
  },
  async provide ({ blob }) {
    let kept = 0
    for await (const event of node.services.dht.provide(blobCid(blob))) {
      if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') kept++
    }
    return { kept }
  },
  async findProviders ({ blob }) {
    const found = {}
    for await (const event of node.services.dht.findProviders(blobCid(blob))) {
      if (event.name === 'PROVIDER') for (const one of event.providers) found[one.id] = one.multiaddrs.map(String)
    }
    return { providers: found, cid: String(blobCid(blob)) }
  },
  async findPeer ({ id }) {
    for await (const event of node.services.dht.findPeer(peerIdFromString(id), { useCache: false })) {
      if (event.name === 'FINAL_PEER') return { addresses: event.peer.multiaddrs.map(String) }
    }
    return { addresses: [] }
  },
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
