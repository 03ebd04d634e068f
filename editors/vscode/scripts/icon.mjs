// Draws icon.png: two lines of code, the gap between them being filled, the cursor in it.
//
//   node scripts/icon.mjs
import { writeFileSync } from "node:fs";
import { crc32, deflateSync } from "node:zlib";

const SIZE = 128;
const [GROUND, CODE, GHOST, CURSOR] = ["1e2430", "d8dee9", "6b7a90", "88c0d0"];

// x, y, width, height, colour
/** @type {[number, number, number, number, string][]} */
const BARS = [
  [24, 28, 52, 12, CODE],
  [24, 58, 24, 12, CODE],
  [54, 52, 5, 24, CURSOR],
  [65, 58, 39, 12, GHOST],
  [24, 88, 64, 12, CODE],
];

/** @param {number} x @param {number} y */
function colour(x, y) {
  const bar = BARS.find(([left, top, width, height]) => x >= left && x < left + width && y >= top && y < top + height);
  return `${bar ? bar[4] : GROUND}${outside(x, y) ? "00" : "ff"}`;
}

/** Beyond the rounded corners. @param {number} x @param {number} y */
function outside(x, y) {
  const radius = 22;
  const beyond = (/** @type {number} */ at) => Math.max(radius - at - 0.5, at + 0.5 - (SIZE - radius), 0);
  return Math.hypot(beyond(x), beyond(y)) > radius;
}

/** @param {string} type @param {Buffer} data */
function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const head = Buffer.alloc(4);
  const tail = Buffer.alloc(4);
  head.writeUInt32BE(data.length);
  tail.writeUInt32BE(crc32(body));
  return Buffer.concat([head, body, tail]);
}

const rows = Array.from({ length: SIZE }, (_, y) => `00${Array.from({ length: SIZE }, (_, x) => colour(x, y)).join("")}`);
const header = Buffer.from([0, 0, 0, SIZE, 0, 0, 0, SIZE, 8, 6, 0, 0, 0]);
const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const pixels = deflateSync(Buffer.from(rows.join(""), "hex"), { level: 9 });
writeFileSync("icon.png", Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND", Buffer.alloc(0))]));
