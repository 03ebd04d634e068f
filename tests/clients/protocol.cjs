// A real language client (vscode-languageserver-protocol, what VS Code speaks with) against the real `infill lsp`.
//
//   npm ci --prefix tests/clients --ignore-scripts && node tests/clients/protocol.cjs [target/release/infill]
//
// Ends with 0 when every check held; a check that did not is named. Times are printed, never asserted.
"use strict";
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const lsp = require("vscode-languageserver-protocol/node");

const PROGRAM = path.resolve(process.argv[2] ?? path.join(__dirname, "../../target/release/infill"));
/** No single step may hang the build. */
const PATIENCE_MS = 60_000;

/** The server's process, and a connection to it. Settings of whoever runs the test are not the server's. */
function start() {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("INFILL_")));
  // The protocol is tested here, not the model's judgement: everything is shown.
  env.INFILL_COMPLETION_SHOW_THRESHOLD = "off";
  // Nothing is left behind: each process has the model itself.
  env.INFILL_ENGINE_SHARED = "false";
  env.XDG_CONFIG_HOME = path.join(__dirname, "no-such-folder");
  const server = spawn(PROGRAM, ["lsp", "--stdio"], { env, stdio: ["pipe", "pipe", "pipe"] });
  const said = [];
  server.stderr.on("data", (piece) => said.push(piece));
  const ended = once(server, "exit").then(([code, signal]) => ({ code, signal, stderr: Buffer.concat(said).toString() }));
  const client = lsp.createProtocolConnection(
    new lsp.StreamMessageReader(server.stdout),
    new lsp.StreamMessageWriter(server.stdin),
  );
  client.onError(() => {}); // the stream breaks where a test breaks it
  server.stdin.on("error", () => {});
  client.listen();
  return { server, client, ended };
}

/** A client's first message. `inline`: whether it can show ghost text. */
async function initialize(client, inline, processId = process.pid) {
  const capabilities = {
    general: { positionEncodings: ["utf-16"] },
    textDocument: { synchronization: {}, completion: {}, ...(inline && { inlineCompletion: {} }) },
  };
  const answer = await client.sendRequest(lsp.InitializeRequest.type, { processId, rootUri: null, capabilities });
  await client.sendNotification(lsp.InitializedNotification.type, {});
  return answer.capabilities;
}

/** A file as an editor holds it: opened, typed in. */
class File {
  constructor(client, name, languageId, text) {
    this.client = client;
    this.uri = pathToFileURL(path.resolve(name)).href;
    this.version = 1;
    this.text = text;
    this.opened = client.sendNotification(lsp.DidOpenTextDocumentNotification.type, {
      textDocument: { uri: this.uri, languageId, version: 1, text },
    });
  }

  /** Types `text` at the end, a key at a time, as an editor sends it. */
  async type(text) {
    for (const key of text) {
      const at = this.end();
      this.text += key;
      await this.client.sendNotification(lsp.DidChangeTextDocumentNotification.type, {
        textDocument: { uri: this.uri, version: ++this.version },
        contentChanges: [{ range: { start: at, end: at }, text: key }],
      });
    }
  }

  end() {
    const lines = this.text.split("\n");
    return { line: lines.length - 1, character: lines.at(-1).length }; // JavaScript counts UTF-16, as LSP does
  }

  at() {
    return { textDocument: { uri: this.uri }, position: this.end() };
  }

  inline(token) {
    const context = { triggerKind: lsp.InlineCompletionTriggerKind.Automatic };
    return this.client.sendRequest(lsp.InlineCompletionRequest.type, { ...this.at(), context }, token);
  }
}

async function leave({ client, ended }) {
  await client.sendRequest(lsp.ShutdownRequest.type);
  await client.sendNotification(lsp.ExitNotification.type);
  const end = await ended;
  assert.equal(end.code, 0, `exit code after shutdown and exit; stderr: ${end.stderr}`);
  assert.doesNotMatch(end.stderr, /panicked/);
}

const EMOJI_LINE = 'emit("🦀", first_value, second_value)\n';
/** Keys behind an emoji on the same line. Which of them get a suggestion is the model's affair; one must. */
const AFTER_EMOJI = 'emit("🦀", first_value, second_value)';
const BEFORE_WORDS = AFTER_EMOJI.indexOf("f");

/** Types `keys` and asks after each; the first answer that holds something. */
async function firstSuggestion(file, keys, ask) {
  for (const key of keys) {
    await file.type(key);
    const { items } = await ask();
    if (items.length > 0) return items[0];
  }
  assert.fail(`no suggestion at any of ${JSON.stringify(keys)}`);
}

/** Where the word before the cursor begins, in UTF-16 units. */
function wordStart(file) {
  const line = file.text.split("\n").at(-1);
  return line.length - line.match(/\w*$/)[0].length;
}

/** What an inline item must be: text over a range on the cursor's line that ends at or after the cursor. */
function check(item, file) {
  const text = typeof item.insertText === "string" ? item.insertText : item.insertText.value;
  const { line, character } = file.end();
  assert.ok(item.range, "the item has no range");
  assert.equal(item.range.start.line, line);
  assert.ok(item.range.start.character <= character && character <= item.range.end.character, JSON.stringify(item.range));
  const head = file.text.split("\n").at(-1).slice(item.range.start.character);
  assert.equal(item.range.start.character, wordStart(file), "the range begins at the word");
  assert.ok(text.startsWith(head) && text.length > head.length, `${JSON.stringify(text)} does not go on from ${JSON.stringify(head)}`);
  return text.slice(head.length);
}

const tests = {
  async "ghost text in a real file, after an emoji, cancelled, shut down"() {
    const begun = performance.now();
    const run = start();
    const capabilities = await initialize(run.client, true);
    assert.equal(capabilities.positionEncoding, "utf-16");
    assert.equal(capabilities.inlineCompletionProvider, true);
    assert.equal(capabilities.completionProvider, undefined, "a client with ghost text gets no menu beside it");

    // This very file, opened to its middle: the first answer comes whatever it holds.
    const source = fs.readFileSync(__filename, "utf8");
    const own = new File(run.client, __filename, "javascript", source.slice(0, source.indexOf("const tests")));
    const first = await own.inline();
    console.log(`  start to first answer: ${Math.round(performance.now() - begun)} ms`);
    assert.ok(Array.isArray(first.items));

    const file = new File(run.client, "emoji.py", "python", EMOJI_LINE.repeat(6));
    await file.type(AFTER_EMOJI.slice(0, BEFORE_WORDS));
    const item = await firstSuggestion(file, AFTER_EMOJI.slice(BEFORE_WORDS), () => file.inline());
    assert.equal(file.end().character, [...file.text.split("\n").at(-1)].length + 1, "the emoji is two units wide");
    const ghost = check(item, file);
    console.log(`  ghost text at ${JSON.stringify(file.text.split("\n").at(-1))}: ${JSON.stringify(ghost)}`);

    // Type what was offered: it is still offered, and its range still starts at the word.
    await file.type([...ghost][0]);
    const rest = (await file.inline()).items;
    if ([...ghost].length > 1) check(rest[0], file);

    const cancel = new lsp.CancellationTokenSource();
    await file.type("\n\ndef total(");
    const cancelled = file.inline(cancel.token);
    cancel.cancel();
    const outcome = await cancelled.then((value) => ({ value }), (error) => ({ error }));
    if (outcome.error) assert.equal(outcome.error.code, lsp.LSPErrorCodes.RequestCancelled);
    else assert.ok(Array.isArray(outcome.value.items), "a cancelled request has one answer: an error, or a result that was ready");
    console.log(`  cancelled: ${outcome.error ? "RequestCancelled" : "answered before the cancel came"}`);
    assert.ok(Array.isArray((await file.inline()).items), "after a cancel the next request is answered");
    await leave(run);
  },

  async "an older request is superseded by a newer one"() {
    const run = start();
    await initialize(run.client, true);
    const file = new File(run.client, "a.py", "python", EMOJI_LINE.repeat(3));
    const asked = [];
    for (const key of "emit(") {
      await file.type(key);
      asked.push(file.inline().then((value) => value.items.length, (error) => error.code));
    }
    const outcomes = await Promise.all(asked);
    const superseded = lsp.LSPErrorCodes.ContentModified;
    assert.ok(outcomes.every((o) => o >= 0 || o === superseded), JSON.stringify(outcomes));
    assert.ok(outcomes.at(-1) >= 0, `the last one gets a result: ${JSON.stringify(outcomes)}`);
    await leave(run);
  },

  async "a client without ghost text gets completion items"() {
    const run = start();
    const capabilities = await initialize(run.client, false);
    assert.ok(capabilities.completionProvider, "completion items are offered");
    const file = new File(run.client, "menu.py", "python", EMOJI_LINE.repeat(6));
    await file.type(AFTER_EMOJI.slice(0, BEFORE_WORDS));
    const context = { triggerKind: lsp.CompletionTriggerKind.Invoked };
    const ask = () => run.client.sendRequest(lsp.CompletionRequest.type, { ...file.at(), context });
    const item = await firstSuggestion(file, AFTER_EMOJI.slice(BEFORE_WORDS), ask);
    console.log(`  item: ${JSON.stringify(item.label)}`);
    const head = file.text.split("\n").at(-1).slice(wordStart(file));
    assert.equal(item.textEdit.range.start.character, wordStart(file));
    assert.ok(item.textEdit.newText.startsWith(head));
    assert.ok(item.filterText.startsWith(head), "the menu filters by the word that is typed");
    await leave(run);
  },

  async "a request for a document that is not open is an error, and the server stays"() {
    const run = start();
    await initialize(run.client, true);
    const file = new File(run.client, "gone.py", "python", "x = 1\n");
    await run.client.sendNotification(lsp.DidCloseTextDocumentNotification.type, { textDocument: { uri: file.uri } });
    await assert.rejects(file.inline(), /not open/);
    await leave(run);
  },

  async "the end of stdin ends the server"() {
    const run = start();
    await initialize(run.client, true);
    const file = new File(run.client, "a.py", "python", EMOJI_LINE);
    file.inline().catch(() => null); // in flight when the client vanishes
    await file.type("x"); // messages go out in order: the request has left
    run.server.stdin.end();
    const end = await run.ended;
    run.client.dispose();
    assert.equal(end.signal, null, "it leaves by itself");
    assert.equal(end.code, 1, "without shutdown the exit code is 1");
    assert.doesNotMatch(end.stderr, /panicked/);
  },

  async "the death of the parent process ends the server"() {
    const parent = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
    const run = start();
    await initialize(run.client, true, parent.pid);
    // It must have been seen alive: it is looked at every two seconds.
    await new Promise((after) => setTimeout(after, 2500));
    assert.equal(run.server.exitCode, null, "it stays while the parent lives");
    parent.kill("SIGKILL");
    const end = await run.ended;
    run.client.dispose();
    assert.equal(end.signal, null, "it leaves by itself");
    assert.doesNotMatch(end.stderr, /panicked/);
  },
};

function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not finished after ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function main() {
  if (!fs.existsSync(PROGRAM)) throw new Error(`${PROGRAM} is not there: run cargo build --release first`);
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    const problem = await within(test()).then(() => null, (error) => error);
    console.log(`${problem ? "FAILED" : "ok"}: ${name}`);
    if (problem) console.log(problem.stack ?? problem);
    failed += problem ? 1 : 0;
  }
  console.log(failed ? `${failed} FAILED` : `${Object.keys(tests).length} checks with a real client: all ok`);
  process.exit(failed ? 1 : 0);
}

main();
