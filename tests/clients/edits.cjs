// Random edits through VS Code's own text (vscode-languageserver-textdocument) and through the real `infill lsp`: the same text.
//
//   npm ci --prefix tests/clients --ignore-scripts && node tests/clients/edits.cjs [target/release/infill] [EDITS] [SEED]
//
// EDITS (1,000,000 when it is not given) are shared out to three servers, one for each position encoding. What a server has is seen
// in its prompts: a stand-in for a remote engine hears, now and then, all that stands behind the beginning of the text.
"use strict";
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const http = require("node:http");
const path = require("node:path");
const { TextDocument } = require("vscode-languageserver-textdocument");

const PROGRAM = path.resolve(process.argv[2] ?? path.join(__dirname, "../../target/release/infill"));
const EDITS = Number(process.argv[3] ?? 1_000_000);
const SEED = Number(process.argv[4] ?? 1);
const URI = "untitled:edits";
/** Edits between two looks, and between two changes of the whole text. */
const LOOK = 100;
const WHOLE = 5_000;
const LONGEST = 4_000;
const PIECES = ["", "a", "\n", "\r\n", "\r", "\t", "é", "e\u0301", "😀", "👩‍👩‍👧", "{\n    x\n}", "\u2028", "\u0085", "μ", "  ", "ab\r\ncd"];

let state = SEED >>> 0;
/** A whole number below `end` (mulberry32). */
function below(end) {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % end;
}

function text(most) {
  return Array.from({ length: below(most) }, () => PIECES[below(PIECES.length)]).join("");
}

/** Hears what the model would be asked. */
function engine() {
  const heard = [];
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      if (request.url === "/v1/models") {
        return response.end(JSON.stringify({ data: [{ id: "deepseek", max_model_len: 150_000 }] }));
      }
      const prompt = JSON.parse(Buffer.concat(parts)).prompt;
      if (typeof prompt === "string" && !prompt.includes("def read_lines")) {
        heard.push(prompt);
      }
      response.setHeader("content-type", "text/event-stream");
      response.end('data: {"choices":[{"text":"x","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
    });
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done({ server, heard, url: `http://127.0.0.1:${server.address().port}` })));
}

/** `infill lsp`, spoken to by hand: a million edits are many objects for a client library. */
class Server {
  constructor(url) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("INFILL_")));
    Object.assign(env, { XDG_CONFIG_HOME: path.join(__dirname, "no-such-folder"), INFILL_COMPLETION_SHOW_THRESHOLD: "off" });
    Object.assign(env, { INFILL_ENGINE_URL: url, INFILL_ENGINE_API: "openai", INFILL_ENGINE_TEMPLATE: "deepseek" });
    Object.assign(env, { INFILL_COMPLETION_LAYOUT: "psm", INFILL_CONTEXT_TOKENS: "131072", INFILL_CONTEXT_OTHER_FILES: "false" });
    this.process = spawn(PROGRAM, ["lsp"], { env, stdio: ["pipe", "pipe", "inherit"] });
    this.waiting = new Map();
    this.last = 0;
    this.ended = new Promise((done) => this.process.on("exit", done));
    let buffer = Buffer.alloc(0);
    this.process.stdout.on("data", (piece) => {
      buffer = Buffer.concat([buffer, piece]);
      for (;;) {
        const head = buffer.indexOf("\r\n\r\n");
        const length = head < 0 ? NaN : Number(/Content-Length: (\d+)/i.exec(buffer.subarray(0, head))[1]);
        if (!(buffer.length >= head + 4 + length)) return;
        const message = JSON.parse(buffer.subarray(head + 4, head + 4 + length));
        buffer = buffer.subarray(head + 4 + length);
        this.waiting.get(message.id)?.(message);
      }
    });
  }

  send(message) {
    const body = JSON.stringify({ jsonrpc: "2.0", ...message });
    this.process.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  notify(method, params) {
    this.send({ method, params });
  }

  request(method, params) {
    const id = ++this.last;
    return new Promise((done) => {
      this.waiting.set(id, (message) => done(this.waiting.delete(id) && message));
      this.send({ id, method, params });
    });
  }
}

/** A place that every encoding can name: not inside a character, not inside a CRLF. */
function offset(content) {
  let at = below(content.length + 1);
  if (content.charCodeAt(at) >= 0xdc00 && content.charCodeAt(at) < 0xe000) at -= 1;
  if (content[at] === "\n" && content[at - 1] === "\r") at -= 1;
  return at;
}

/** UTF-16 columns in the units of the encoding. */
function column(document, position, encoding) {
  if (encoding === "utf-16") return position;
  const line = document.getText({ start: { line: position.line, character: 0 }, end: position });
  return { line: position.line, character: encoding === "utf-8" ? Buffer.byteLength(line) : [...line].length };
}

/**
 * The text so that no CR of one side meets an LF of the other: VS Code's text goes on to count two lines there, where a text that is
 * opened so has one. No editor sends such edits; tests/edits.rs makes them against a plain string.
 */
function apart(before, text, after) {
  const joins = (left, right) => left.endsWith("\r") && right.startsWith("\n");
  return joins(before, text || after) || joins(text, after) ? `a${text}a` : text;
}

/** The next change: applied to `document`, and as it is sent. */
function change(document, encoding, whole) {
  const content = document.getText();
  if (whole || content.length > LONGEST) {
    const sent = { text: text(40) };
    TextDocument.update(document, [sent], document.version + 1);
    return sent;
  }
  const from = offset(content);
  // Mostly keys; now and then a line or two goes.
  const to = below(4) === 0 ? Math.max(from, Math.min(content.length, from + below(40))) : from;
  const end = content.charCodeAt(to) >= 0xdc00 && content.charCodeAt(to) < 0xe000 ? to - 1 : to;
  const range = { start: document.positionAt(from), end: document.positionAt(end) };
  const inserted = apart(content.slice(0, from), text(4), content.slice(end));
  const sent = { range: { start: column(document, range.start, encoding), end: column(document, range.end, encoding) }, text: inserted };
  TextDocument.update(document, [{ range, text: sent.text }], document.version + 1);
  return sent;
}

/** Asks at the beginning: the prompt holds the whole text behind the hole, with LF line ends. How many prompts were compared. */
async function look(server, heard, document) {
  heard.length = 0;
  const params = { textDocument: { uri: URI }, position: { line: 0, character: 0 }, context: { triggerKind: 2 } };
  const answer = await server.request("textDocument/inlineCompletion", params);
  assert.ok(answer.result, JSON.stringify(answer));
  const prompt = heard.at(-1);
  // A suggestion that still holds needs no engine: look again after the next edit.
  if (prompt === undefined) return 0;
  const suffix = /<｜fim▁hole｜>([^]*)<｜fim▁end｜>/.exec(prompt)[1];
  assert.equal(suffix, document.getText().replaceAll("\r\n", "\n"), `version ${document.version}, seed ${SEED}`);
  return 1;
}

async function run(encoding, edits, { heard, url }) {
  const server = new Server(url);
  const capabilities = { general: { positionEncodings: [encoding] }, textDocument: { inlineCompletion: {} } };
  const { result } = await server.request("initialize", { processId: null, capabilities });
  assert.equal(result.capabilities.positionEncoding, encoding);
  server.notify("initialized", {});
  let document = TextDocument.create(URI, "plaintext", 1, "begin\n");
  server.notify("textDocument/didOpen", { textDocument: { uri: URI, languageId: "plaintext", version: 1, text: document.getText() } });
  let looks = 0;
  let done = 0;
  while (done < edits || looks * LOOK < edits) {
    const contentChanges = [];
    for (let n = below(3) + 1; n > 0; n--, done++) contentChanges.push(change(document, encoding, done % WHOLE === WHOLE - 1));
    server.notify("textDocument/didChange", { textDocument: { uri: URI, version: document.version }, contentChanges });
    if (done / LOOK > looks || done >= edits) {
      looks += await look(server, heard, document);
      assert.ok(done < edits * 2 + 1000, "the engine is hardly ever asked, although the text has changed");
    }
  }
  await server.request("shutdown");
  server.notify("exit");
  assert.equal(await server.ended, 0);
  console.log(`${encoding}: ${edits} edits, the same text at each of ${looks} looks`);
}

async function main() {
  const listening = await engine();
  const share = Math.ceil(EDITS / 3);
  for (const encoding of ["utf-8", "utf-16", "utf-32"]) await run(encoding, share, listening);
  listening.server.close();
  listening.server.closeAllConnections();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
