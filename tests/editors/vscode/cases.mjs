// The cases. Each opens its own copy of the project, types until there is ghost text, and compares the file on disk.
//
//   await CASES.accept({ window, editor, folder })   ->   throws when what is on disk is not what was shown
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { until } from "./editor.mjs";
import { balanced, BLOCK, PLACES, prepare, WIND } from "./places.mjs";
import { Service } from "./service.mjs";

export const CASES = {
  async status({ window }) {
    const { text, label } = await window.status();
    assert.match(text, /nano \(cpu\)/);
    assert.match(label, /infill is ready/);
    await window.clickStatus();
    const rows = window.page.locator(".quick-input-list .monaco-list-row");
    await rows.filter({ hasText: "Restart the server" }).waitFor();
    const menu = (await rows.allInnerTexts()).join("\n");
    for (const entry of ["Turn off", "Model", "Show the log", "accepted"]) assert.ok(menu.includes(entry), `"${entry}" in ${menu}`);
    await window.screenshot("menu");
    await window.press("Escape");
  },

  async accept(desk) {
    const { window, place, line } = await suggested(desk, "accept");
    await window.screenshot("ghost-text");
    await accept(window);
    place.check(line.whole);
    await told(desk, place, "accepted");
  },

  async type_through(desk) {
    const { window, place, line } = await suggested(desk, "type_through", ({ ghost }) => /^\w\w/.test(ghost));
    await window.type(line.ghost[0]);
    const rest = await window.seen("one more character typed", ({ text }) => text === line.text + line.ghost[0]);
    assert.equal(rest.whole, line.whole);
    await accept(window);
    place.check(line.whole);
  },

  async undo(desk) {
    const { window, place, line } = await suggested(desk, "undo");
    await window.press("Tab");
    await window.seen("the accepted text", ({ text }) => text === line.whole);
    await window.press("Control+Z");
    await window.seen("the text as typed", ({ text }) => text === line.text);
    await window.save();
    place.check(line.text);
  },

  async auto_closed(desk) {
    const { window, place, line } = await suggested(desk, "auto_closed", ({ text }) => text.endsWith(")"));
    await window.screenshot("auto-closed");
    await accept(window);
    place.check(line.whole);
    assert.ok(balanced(line.whole), `brackets of ${JSON.stringify(line.whole)}`);
  },

  async crlf(desk) {
    const { window, place, line } = await suggested(desk, "crlf");
    assert.match(await window.bar(), /CRLF/);
    await accept(window);
    place.check(line.whole);
  },

  async emoji(desk) {
    const { window, place, line } = await suggested(desk, "emoji", ({ text }) => text.includes("🌧🌂"));
    await window.screenshot("emoji");
    await accept(window);
    place.check(line.whole);
  },

  async tabs(desk) {
    const { window, place, line } = await suggested(desk, "tabs");
    await accept(window);
    const saved = place.onDisk();
    assert.match(saved, /^\t\t\S/);
    assert.equal(saved.replaceAll("\t", "    "), line.whole);
  },

  async save(desk) {
    const { window, place, line } = await suggested(desk, "save");
    await window.save();
    place.check(line.text); // ghost text is not saved
    await accept(window);
    place.check(line.whole);
  },

  async accept_word(desk) {
    const { window, place, line } = await suggested(desk, "accept_word", ({ ghost }) => /^\S+\s+\S/.test(ghost));
    await window.press("Control+Alt+w");
    const part = await window.seen("more text", ({ text }) => text.length > line.text.length);
    assert.ok(line.whole.startsWith(part.text) && part.text !== line.whole, `${part.text} of ${line.whole}`);
    await window.save();
    place.check(part.text);
    await told(desk, place, "partly");
  },

  async accept_line(desk) {
    const { window, place, line } = await suggested(desk, "accept_line");
    await window.press("Control+Alt+Enter");
    await window.noGhost();
    await window.save();
    place.check(line.whole);
    await told(desk, place, "accepted");
  },

  /** Nano stops after a line, so the real server asks an engine that does not. */
  async several_lines(desk) {
    await elsewhere(desk, 0, async () => {
      const { window, place } = await suggested(desk, "several_lines");
      await window.seen("the whole block", ({ whole }) => whole === BLOCK);
      await window.screenshot("block");
      const [first, second, third] = BLOCK.split("\n");
      await window.press("Control+Alt+Enter");
      await window.seen("the second line offered", ({ text, ghost }) => text.trim() === "" && ghost.includes(second.trim()));
      await told(desk, place, "partly");
      await window.press("Control+Alt+Enter");
      await window.seen("the third line offered", ({ text, ghost }) => text.trim() === "" && ghost.trim() === third.trim());
      await window.save();
      place.check(`${first}\n${second}\n`);
      await window.press("Control+Alt+Enter"); // in front of indentation VS Code's Tab is for indenting
      await window.noGhost();
      await window.save();
      place.check(BLOCK);
      await told(desk, place, "accepted");
    });
  },

  /** VS Code withdraws a question after 750 ms: its answer is shown all the same, if no key came in between. */
  async slow_service(desk) {
    await elsewhere(desk, 1200, async () => {
      const { window, editor, folder } = desk;
      const place = prepare(path.join(folder, "slow_service"), PLACES.several_lines);
      const asked = () => editor.heard("textDocument/inlineCompletion").length;
      await window.open(place.path, place.line);
      await window.type("i");
      await until("a question", () => asked() === 1);
      await new Promise((resolve) => setTimeout(resolve, 900));
      assert.equal(editor.heard("$/cancelRequest").length, 0, "the service goes on thinking");
      await window.type("f");
      await until("the question withdrawn by a key", () => editor.heard("$/cancelRequest").length === 1);
      await window.seen("the block behind the last key", ({ text, whole }) => text.trim() === "if" && whole === BLOCK);
      assert.equal(asked(), 2, "asked once for each key");
      await accept(window);
      place.check(BLOCK);
      await told(desk, place, "accepted");
    });
  },

  async cycling(desk) {
    const { window, place, line } = await suggested(desk, "cycling");
    await window.press("Alt+]");
    const next = await window.seen("another suggestion", ({ text, ghost }) => text === line.text && ghost !== "" && ghost !== line.ghost);
    assert.ok(desk.editor.heard("textDocument/inlineCompletion").some(({ context }) => context.triggerKind === 1), "several were asked for");
    await window.press("Alt+[");
    await window.seen("the first again", ({ ghost }) => ghost === line.ghost);
    await window.press("Alt+]");
    await window.seen("the other again", ({ ghost }) => ghost === next.ghost);
    await accept(window);
    place.check(next.whole);
  },

  async cursor(desk) {
    const { window, editor, place } = await suggested(desk, "cursor");
    await window.press("Escape");
    await window.save();
    await window.press("ArrowUp");
    const told = ({ textDocument, position }) => textDocument.uri.endsWith(place.path) && position.line === place.line - 2;
    await until("the server told where the cursor went", () => editor.heard("infill/cursor").some(told));
  },

  async list(desk) {
    assert.equal(desk.editor.heard("textDocument/completion").length, 0, "no entries in the list unless they are wanted");
    await items(desk, "always");
    // Typing may open the list; then there is no ghost text.
    const place = prepare(path.join(desk.folder, "list"), PLACES.list);
    const { window } = desk;
    await window.open(place.path, place.line);
    await window.type(place.keys.slice(0, place.from));
    const row = window.page.locator(".suggest-widget.visible .monaco-list-row").first();
    if (!(await row.isVisible())) await window.press("Control+Space");
    await row.waitFor();
    const label = (await row.locator(".label-name").innerText()).replaceAll("\u00a0", " ").replace(/ …$/, "");
    await window.screenshot("list");
    await window.press("Enter");
    await window.page.locator(".suggest-widget.visible").waitFor({ state: "hidden" });
    await window.save();
    assert.ok(place.onDisk().includes(label), `${label} in ${place.onDisk()}`);
    await items(desk, "auto");
  },

  async dismiss(desk) {
    const { window, place, line } = await suggested(desk, "dismiss");
    await window.press("Escape");
    await window.noGhost();
    await window.save();
    place.check(line.text);
    await told(desk, place, "rejected");
  },

  async toggle(desk) {
    const { window, editor } = await suggested(desk, "toggle");
    const settings = () => editor.heard("workspace/didChangeConfiguration").at(-1)?.settings.infill ?? {};
    await window.press("Control+Alt+l");
    await until("python excluded", () => settings().languages?.includes("!python"));
    await labelled(window, /infill is off for python/);
    await window.press("Control+Alt+l");
    await until("no list of languages", () => settings().languages === undefined);
    await labelled(window, /infill is ready/);
    await window.press("Control+Alt+t");
    await until("infill disabled", () => settings().enabled === false);
    await labelled(window, /infill is off/);
    await window.press("Control+Alt+t");
    await labelled(window, /infill is ready/);
    await window.save();
  },

  async model({ window, editor }) {
    await window.press("Control+Alt+m");
    await window.choose("inside the program");
    await until("a server with --model nano", () => editor.started().args.join(" ").includes("--model nano"));
    await labelled(window, /infill is ready/);
    await window.press("Control+Alt+m");
    await window.choose("As configured elsewhere");
    await until("a server without --model", () => !editor.started().args.includes("--model"));
    await labelled(window, /infill is ready/);
  },

  async doctor({ window }) {
    await window.clickStatus();
    await window.choose("Check the installation");
    const report = window.page.locator(".editor-group-container.active .view-lines");
    const said = await until("what infill doctor says", async () => {
      const text = (await report.count()) > 0 ? (await report.innerText()).replaceAll("\u00a0", " ") : "";
      return text.includes("memory") && text;
    });
    assert.match(said, /ok\s+model\s+nano/);
    await window.screenshot("doctor");
  },

  async crash(desk) {
    const { pid } = desk.editor.started();
    process.kill(pid, "SIGKILL");
    await serverAfter(desk.editor, pid);
    await labelled(desk.window, /infill is ready/);
    const { window, place, line } = await suggested(desk, "crash");
    await accept(window);
    place.check(line.whole);
  },

  /** What is written to a server that no longer reads is no news: nothing may pop up, its end starts another. */
  async deaf({ window, editor, folder }) {
    const file = path.join(editor.data, "deaf");
    const first = editor.started().pid;
    editor.configure({ "infill.path": editor.deafened(file) });
    await serverAfter(editor, first);
    const place = prepare(path.join(folder, "deaf"), WIND);
    await window.open(place.path, place.line);
    const { pid } = editor.started();
    writeFileSync(file, "");
    await until("a server that reads no more", () => !existsSync(file));
    await window.type("x = ");
    await serverAfter(editor, pid);
    assert.deepEqual(await window.notifications(), []);
    editor.configure({ "infill.path": editor.program });
    await labelled(window, /infill is ready/);
  },

  async missing_binary({ window, editor }) {
    editor.configure({ "infill.path": "/nowhere/infill" });
    const [message] = await until("a notification", async () => (await window.notifications()).length > 0 && window.notifications());
    assert.match(message, /no program at "\/nowhere\/infill".*infill\.path/);
    assert.deepEqual(await window.buttons().allInnerTexts(), ["Open settings", "How to install"]);
    await window.screenshot("missing-binary");
    assert.match((await window.status()).label, /does not work.*infill\.path/s);
    await window.buttons().filter({ hasText: "How to install" }).click();
    await window.page.locator(".tab.active", { hasText: "readme.md" }).waitFor();
    editor.configure({ "infill.path": editor.program });
    await until("the server back", async () => /nano \(cpu\)/.test((await window.status()).text));
  },

  async other_version({ window, editor }) {
    editor.configure({ "infill.path": editor.fake("echo infill 9.9.9") });
    const [message] = await until("a notification", async () => (await window.notifications()).length > 0 && window.notifications());
    assert.match(message, /is infill 9\.9\.9, this extension needs \d+\.\d+\..*or update the extension/);
    assert.match((await window.status()).label, /does not work.*9\.9\.9/s);
    await window.buttons().filter({ hasText: "How to install" }).click();
    editor.configure({ "infill.path": editor.program });
    await until("the server back", async () => /nano \(cpu\)/.test((await window.status()).text));
  },
};

/** Types until there is ghost text that fits. */
async function suggested({ window, editor, folder }, name, fits = () => true) {
  const place = prepare(path.join(folder, name), PLACES[name]);
  await window.open(place.path, place.line);
  const seen = [];
  for (let n = 1; n <= place.keys.length; n++) {
    // One character of the text, not half of one outside the BMP.
    const typed = [...place.keys].slice(0, n).join("");
    await window.type([...place.keys][n - 1]);
    if (n < place.from) continue;
    const line = await answered(window, editor, place, place.indent + typed);
    if (line.ghost !== "" && fits(line)) return { window, editor, place, line };
    seen.push(`${typed}|${line.ghost}`);
  }
  throw new Error(`the model said nothing that fits: ${seen.join("  ")}`);
}

/** The line when the server has answered for it. */
async function answered(window, editor, place, typed) {
  // An answer may be empty: 0 items are an answer too.
  const [items] = await until(`an answer for ${JSON.stringify(typed)}`, () => answer(editor.record(), place, typed.length));
  const head = typed.replaceAll("\t", "    ");
  return window.seen(`${items} suggestions behind ${JSON.stringify(typed)}`, ({ text, ghost }) => text.startsWith(head) && (items === 0 || ghost !== ""));
}

/** How many items the server answered to the last ask at this column, in a list; undefined while it has not. */
function answer(record, place, character) {
  const asks = record.filter(({ in: m }) => m?.method === "textDocument/inlineCompletion" && m.params.textDocument.uri.endsWith(place.path));
  const last = asks.filter(({ in: m }) => m.params.position.line === place.line - 1 && m.params.position.character === character).pop();
  const items = record.find(({ out: m }) => last && m?.id === last.in.id)?.out.result?.items;
  return items && [items.length];
}

/** Has BLOCK suggested by an engine elsewhere, which thinks for so many milliseconds, while `work` is done. */
async function elsewhere(desk, thinks, work) {
  const service = await Service.start(BLOCK, thinks);
  try {
    await asking(desk, service);
    await work();
  } finally {
    await asking(desk);
    service.stop();
  }
}

/** Has blocks suggested by an engine elsewhere; by nano, and as long as it likes, when there is none. */
async function asking({ window, editor }, service) {
  const program = service ? editor.recorder("remote", `INFILL_ENGINE_URL=${service.url}`) : editor.program;
  editor.configure({ "infill.path": program, "infill.completion.lines": service ? "block" : "auto" });
  const model = service ? /DeepSeek-Coder-V2/ : /nano \(cpu\)/;
  await until(`${model} in the status bar`, async () => model.test((await window.status()).text));
}

/** Whether entries of the completion list are offered; a change of it starts a new server. */
async function items({ window, editor }, wanted) {
  const { pid } = editor.started();
  editor.configure({ "infill.completion.items": wanted });
  await serverAfter(editor, pid);
  await labelled(window, /infill is ready/);
}

/** Waits for another server than that of this process, to which VS Code has said hello. */
function serverAfter(editor, pid) {
  return until("another server", () => editor.started().pid !== pid && editor.heard("initialized").length > 0);
}

function labelled(window, wanted) {
  return until(`the status bar saying ${wanted}`, async () => wanted.test((await window.status()).label));
}

async function accept(window) {
  await window.press("Tab");
  await window.noGhost();
  await window.save();
}

function told({ editor }, place, outcome) {
  const heard = () => editor.heard("infill/outcome").some((p) => p.textDocument.uri.endsWith(place.path) && p.outcome === outcome);
  return until(`the server told of "${outcome}"`, heard);
}
