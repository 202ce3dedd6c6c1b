// dpin's records for a stock Kad-DHT, written from docs/protocol/network.md alone.
import { createHash, createPublicKey, verify } from 'node:crypto'
import { decode, encode } from '@msgpack/msgpack'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'

const TAG = 'dpin/directory/record/v1'
const RAW = 0x55
const BLAKE3 = 0x1e
const ED25519_SPKI = Buffer.from('302a300506032b6570032100', 'hex')

const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const text = (value) => Buffer.from(value)

// What is signed: the kind of statement, the network, and a digest of the body in the domain of the kind.
const statement = (chain, body) =>
  Buffer.concat([text(`${TAG}\0`), chain, sha256(text(`${TAG}\0`), body)])

export const protocolOf = (chain) => `/dpin/${chain.subarray(0, 8).toString('hex')}/kad/1.0.0`
export const addressKey = (peer) => text(`/dpin/address/${peer}`)
export const blobCid = (blob) => CID.createV1(RAW, Digest.create(BLAKE3, Buffer.from(blob, 'hex')))

function read (value) {
  const [signer, body, signature] = decode(value)
  const [kind, addresses, expires] = decode(body)
  return { signer, body, signature, kind, addresses, expires }
}

export async function write (chain, key, addresses, expires) {
  const body = Buffer.from(encode([1, addresses, expires]))
  const signature = await key.sign(statement(chain, body))
  return encode([key.publicKey.raw, body, Buffer.from(signature)])
}

export function validatorOf (chain) {
  return (key, value) => {
    const { signer, body, signature, kind, addresses, expires } = read(value)
    const known = createPublicKey({
      key: Buffer.concat([ED25519_SPKI, signer]), format: 'der', type: 'spki'
    })
    if (!verify(null, statement(chain, body), known, signature)) throw new Error('not signed by its signer')
    const peer = text(key).toString().split('/')[3]
    if (kind !== 1 || !addresses.every((one) => one.endsWith(`/p2p/${peer}`))) throw new Error('not of its key')
    if (expires <= Date.now()) throw new Error('it has expired')
  }
}

export const latest = (_, values) =>
  values.reduce((best, value, at) => (read(value).expires > read(values[best]).expires ? at : best), 0)

export const addressesIn = (value) => read(value).addresses
