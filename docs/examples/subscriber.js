// Prints every alert of a spade-stream feed after SINCE as a JSON line, and connects again by itself. See docs/wire.md.
// npm install zeromq@6; node subscriber.js ENDPOINT [SINCE]
"use strict";
const { Dealer } = require("zeromq");

const REFUSED = 3, BEAT = 9, SUBSCRIBE = 20, ALERT = 21, ACK = 22, GAP = 23;
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(buffers) {
  let crc = 0xffffffff;
  for (const buffer of buffers) for (const byte of buffer) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function u32(number) {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(number);
  return buffer;
}

const checksum = ([head, ...parts]) => crc32([head.subarray(0, 12), ...parts.flatMap((part) => [u32(part.length), part])]);

function encode(kind, meta) {
  const body = Buffer.from(JSON.stringify(meta));
  const head = Buffer.concat([Buffer.from("SPDS"), Buffer.from([2, kind, 0, 0]), u32(body.length)]);
  return [Buffer.concat([head, u32(checksum([head, body]))]), body];
}

function decode(parts) {
  const head = parts[0];
  if (head.length !== 16 || head.toString("latin1", 0, 4) !== "SPDS" || head[4] !== 2) throw new Error("not wire version 2");
  if (head.readUInt32BE(12) !== checksum(parts)) throw new Error("damaged on its way");
  return [head[5], JSON.parse(parts[1].toString()), parts.slice(2)];
}

async function main(endpoint, since) {
  for (;;) { // a connection
    const socket = new Dealer({ linger: 0, receiveTimeout: 3000 }); // silent for so long: connect anew
    socket.connect(endpoint);
    await socket.send(encode(SUBSCRIBE, { name: null, since }));
    let saying = Promise.resolve();
    const say = (kind, meta) => (saying = saying.then(() => socket.send(encode(kind, meta))).catch(() => {})); // one at a time
    const beat = setInterval(() => say(BEAT, {}), 1000);
    try {
      for (;;) {
        const [kind, meta] = decode(await socket.receive());
        if (kind === ALERT && meta.seq > since) {
          console.log(JSON.stringify(meta));
          since = meta.seq;
          say(ACK, { seq: since });
        } else if (kind === GAP && meta.last > since) {
          console.error(`alerts ${meta.first} to ${meta.last} are gone`);
          since = meta.last;
        } else if (kind === REFUSED && meta.again) {
          break;
        } else if (kind === REFUSED) {
          console.error(meta.reason);
          process.exit(1);
        }
      }
    } catch (error) {
      if (error.code !== "EAGAIN") throw error; // nothing came in time
    } finally {
      clearInterval(beat);
      socket.close();
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

module.exports = { encode, decode };
if (require.main === module) main(process.argv[2], Number(process.argv[3] ?? 0));
