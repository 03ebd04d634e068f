// Runs the cases: `node run.mjs [CASE...]`; a line per case, exit code 1 when one failed. See `run`, which prepares.
//
//   ok accept (2.1 s)
//   FAIL crlf: on disk: "x\n", expected: "x\r\n"
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { CASES } from "./cases.mjs";
import { ARTIFACTS, E2E_DIR, Editor, until, version } from "./editor.mjs";
import { Window } from "./window.mjs";

const NEEDED = [1, 139];

function checkVersion() {
  const found = version();
  const [major, minor] = found.split(".").map(Number);
  console.log(`VS Code ${found}`);
  if (!(major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]))) {
    throw new Error(`VS Code ${found} is older than ${NEEDED.join(".")}: remove ${E2E_DIR}/code-server and run again`);
  }
}

async function attempt(name, desk) {
  const begun = Date.now();
  try {
    const note = await CASES[name](desk);
    // Whatever else happens, nothing may pop up that the case does not look at.
    const said = ["missing_binary", "other_version"].includes(name) ? [] : await desk.window.notifications();
    if (said.length > 0) throw new Error(`a notification: ${said.join("; ")}`);
    console.log(`ok ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)${note ? `, ${note}` : ""}`);
    return true;
  } catch (error) {
    console.log(`FAIL ${name}: ${error.message.split("\n").join(" ")}`);
    await desk.window.screenshot(`FAIL-${name}`).catch(() => {});
    desk.editor.keepRecord(path.join(ARTIFACTS, `FAIL-${name}.jsonl`));
    return false;
  }
}

async function main(names) {
  const unknown = names.filter((name) => !(name in CASES));
  if (unknown.length > 0) throw new Error(`no case ${unknown.join(", ")}: there are ${Object.keys(CASES).join(", ")}`);
  checkVersion();
  const folder = path.join(E2E_DIR, "vscode-project");
  rmSync(folder, { recursive: true, force: true });
  readdirSync(ARTIFACTS).filter((name) => /\.png$|^FAIL-/.test(name)).forEach((name) => rmSync(path.join(ARTIFACTS, name)));
  mkdirSync(folder);
  const editor = await Editor.start({ vsix: path.join(E2E_DIR, "infill.vsix"), folder, settings: { "infill.completion.max_tokens": 48 } });
  try {
    return await inWindow(names, editor, folder);
  } finally {
    editor.stop();
  }
}

async function inWindow(names, editor, folder) {
  const window = await Window.start(editor.url);
  try {
    // While it loads, the bar says "nano" alone.
    await until("the model in the status bar", async () => /nano \(cpu\)/.test((await window.status()).text), 60);
    let good = true;
    for (const name of names.length > 0 ? names : Object.keys(CASES)) good = (await attempt(name, { window, editor, folder })) && good;
    return good;
  } catch (error) {
    await window.screenshot("FAIL-start");
    throw error;
  } finally {
    await window.close();
  }
}

const good = await main(process.argv.slice(2)).catch((error) => {
  console.log(`FAIL start: ${error.message}`);
  return false;
});
process.exit(good ? 0 : 1);
