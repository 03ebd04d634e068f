// The status bar item: the model, what it does, and when it does not work, the remedy in the tooltip.
//
//   bar.show({ state: "ready", model: "nano", device: "cpu" })      ->   ✨ nano (cpu)
import * as vscode from "vscode";
import { covers } from "./settings";
import { present, type Status } from "./status";

/** Being busy for less than this is not shown: the icon would flicker at each key. */
const BUSY_MS = 300;

export class StatusBar {
  readonly item = vscode.window.createStatusBarItem("infill.status", vscode.StatusBarAlignment.Right, 100);
  private status: Status = { state: "loading" };
  private busy: NodeJS.Timeout | undefined;

  constructor() {
    this.item.name = "infill";
    this.item.command = "infill.menu";
    this.item.show();
  }

  get current(): Status {
    return this.status;
  }

  show(status: Status): void {
    // A model stays known while the server says only what it does with it.
    this.status = status;
    clearTimeout(this.busy);
    if (status.state === "busy") this.busy = setTimeout(() => this.draw(), BUSY_MS);
    else this.draw();
  }

  /** Also when another editor or other settings make it look different. */
  draw(): void {
    const language = vscode.window.activeTextEditor?.document.languageId;
    const languages = vscode.workspace.getConfiguration("infill").get<string[]>("languages", []);
    const { text, tooltip, severity } = present(this.status, { language, covered: !language || covers(languages, language) });
    this.item.text = text;
    this.item.tooltip = tooltip;
    this.item.backgroundColor = severity === "error" ? new vscode.ThemeColor("statusBarItem.errorBackground") : undefined;
  }

  dispose(): void {
    clearTimeout(this.busy);
    this.item.dispose();
  }
}
