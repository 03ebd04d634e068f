// The status bar item: the model, what it does, and when it does not work, the remedy in the tooltip.
//
//   bar.show({ state: "ready", model: "nano", device: "cpu" })      ->   ✨ nano (cpu)
import * as vscode from "vscode";
import { covers } from "./settings";
import { present, type Status } from "./status";

export class StatusBar {
  readonly item = vscode.window.createStatusBarItem("infill.status", vscode.StatusBarAlignment.Right, 100);
  private status: Status = { state: "loading" };

  constructor() {
    this.item.name = "infill";
    this.item.command = "infill.menu";
    this.item.show();
  }

  get current(): Status {
    return this.status;
  }

  show(status: Status): void {
    this.status = status;
    this.draw();
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
    this.item.dispose();
  }
}
