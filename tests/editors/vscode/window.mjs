// VS Code's window in a browser: what a user does with keys, and what a user sees.
//
//   await window.open(file, 12, 9);   await window.type("self.");   await window.ghost()   ->   "rain = 0.0"
import path from "node:path";
import { createRequire } from "node:module";
import { ARTIFACTS, E2E_DIR, until } from "./editor.mjs";

const { chromium } = createRequire(path.join(E2E_DIR, "playwright/"))("playwright-core");
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export class Window {
  constructor(browser, page) {
    Object.assign(this, { browser, page, keyboard: page.keyboard });
  }

  static async start(url) {
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: QUIET });
    const page = await browser.newPage({ viewport: { width: 1000, height: 560 }, reducedMotion: "reduce" });
    await page.goto(url, { waitUntil: "domcontentloaded" });
    await page.waitForSelector(".monaco-workbench .part.statusbar", { timeout: 60_000 });
    const window = new Window(browser, page);
    await until("the extension's status bar item", async () => (await window.status()).text !== "", 60);
    await window.press("Control+B"); // without the side bar there is more to see
    return window;
  }

  close() {
    return this.browser.close();
  }

  /** Opens CASE/FOLDER/NAME, an absolute path, and puts the cursor at the end of a line, counted from 1. */
  async open(file, line) {
    await this.pick("Control+P", file, path.basename(path.dirname(path.dirname(file))));
    await this.page.locator(`.tab.active[data-resource-name="${path.basename(file)}"]`).waitFor();
    await this.page.waitForSelector(".monaco-editor.focused");
    await this.pick("Control+G", `${line}`, `${line}`);
    await this.press("End");
    await until(`cursor in line ${line}`, async () => (await this.bar()).includes(`Ln ${line},`));
    await this.page.waitForSelector(".monaco-editor.focused");
  }

  /** Opens a quick input, types, and takes the entry that holds `wanted` once it is there. */
  async pick(key, text, wanted) {
    await this.press(key);
    await this.page.locator(".quick-input-widget input").waitFor();
    await this.type(text);
    await this.choose(wanted);
    await this.page.locator(".quick-input-widget").waitFor({ state: "hidden" });
  }

  /** Takes an entry of a menu that is open or about to be. */
  async choose(text) {
    await this.page.locator(".quick-input-list .monaco-list-row", { hasText: text }).first().click();
    await this.page.mouse.move(20, 330); // where it makes nothing pop up
  }

  async bar() {
    return (await this.page.locator(".part.statusbar").innerText()).replace(/\s+/g, " ");
  }

  /** The extension's status bar item: its text, and what a screen reader says of it. */
  async status() {
    const item = this.page.locator("[id='infill.infill.infill.status']");
    if ((await item.count()) === 0) return { text: "", label: "" };
    return { text: (await item.innerText()).trim(), label: (await item.locator("a").getAttribute("aria-label")) ?? "" };
  }

  clickStatus() {
    return this.page.locator("[id='infill.infill.infill.status'] a").click();
  }

  type(text) {
    return this.keyboard.type(text);
  }

  press(key) {
    return this.keyboard.press(key);
  }

  /** The cursor's line as it looks: `text` without the ghost text, `ghost` alone, and `whole` with both; lines that a
   * suggestion would add follow. A tab is as wide as it looks. */
  line() {
    return this.page.evaluate(() => {
      const plain = (node) => node.textContent.replace(/[\u00a0\u200b]/g, (c) => (c === "\u00a0" ? " " : ""));
      const editor = document.querySelector(".editor-group-container.active .monaco-editor");
      const cursor = editor?.querySelector(".cursors-layer .cursor")?.getBoundingClientRect();
      const middle = cursor && cursor.top + cursor.height / 2;
      const holds = (node) => node.getBoundingClientRect().top < middle && node.getBoundingClientRect().bottom > middle;
      const line = [...(editor?.querySelectorAll(".view-lines > .view-line") ?? [])].find(holds);
      if (!line) return { text: "", ghost: "", whole: "" };
      const isGhost = (node) => /ghost-text/.test(node.className);
      const spans = [...line.querySelectorAll("span > span")];
      const join = (nodes) => nodes.map(plain).join("");
      const below = [...editor.querySelectorAll(".view-zones .suggest-preview-text .view-line")].map((node) => `\n${plain(node)}`).join("");
      return { text: join(spans.filter((s) => !isGhost(s))), ghost: join(spans.filter(isGhost)) + below, whole: join(spans) + below };
    });
  }

  /** Waits until the cursor's line fits. */
  async seen(what, fits) {
    let last;
    const look = async () => fits((last = await this.line())) && last;
    return until(what, look).catch((error) => {
      throw new Error(`${error.message}; the line is ${JSON.stringify(last)}`);
    });
  }

  noGhost() {
    return this.seen("no ghost text", ({ text, ghost }) => text !== "" && ghost === "");
  }

  async save() {
    await this.keyboard.press("Control+S");
    await until("the file to be saved", async () => (await this.page.locator(".tab.active.dirty").count()) === 0);
  }

  /** What the notifications say. */
  async notifications() {
    return this.page.locator(".notification-toast .notification-list-item-message").allInnerTexts();
  }

  buttons() {
    return this.page.locator(".notification-toast .monaco-button");
  }

  screenshot(name) {
    return this.page.screenshot({ path: path.join(ARTIFACTS, `${name}.png`) });
  }
}
