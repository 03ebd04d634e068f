// The status bar's words, and when a dead server is given up.
import assert from "node:assert/strict";
import test from "node:test";
import { Restarts } from "../src/restarts";
import { counts, present, shortName, type State } from "../src/status";

const here = { language: "python", covered: true };

test("ready: model and device", () => {
  const shown = present({ state: "ready", model: "nano", device: "cpu" }, here);
  assert.equal(shown.text, "$(sparkle) nano (cpu)");
  assert.match(shown.tooltip, /infill is ready\nModel: nano on cpu/);
  assert.equal(shown.severity, "none");
});

test("an error shows its message and the remedy", () => {
  const shown = present({ state: "error", model: "/m/x.gguf", message: "No model there.", hint: "Set infill.model." }, here);
  assert.equal(shown.text, "$(error) infill");
  assert.match(shown.tooltip, /No model there\.\nSet infill\.model\./);
  assert.equal(shown.severity, "error");
});

test("off for this language, but an error stays an error", () => {
  const there = { language: "markdown", covered: false };
  assert.match(present({ state: "ready", model: "nano" }, there).tooltip, /^infill is off for markdown/);
  assert.equal(present({ state: "error" }, there).text, "$(error) infill");
});

test("each state has an icon and words", () => {
  for (const state of ["loading", "ready", "busy", "off", "error", "downloading"] satisfies State[]) {
    assert.match(present({ state }, here).text, /^\$\([a-z~-]+\) infill$/);
  }
});

test("a model's path becomes a short name", () => {
  assert.equal(shortName("/models/DeepSeek-Coder-V2-Lite-Base/"), "DeepSeek-Coder-V2-Lite-Base");
  assert.equal(shortName("deepseek-coder-v2-lite-base-q8_0.gguf"), "deepseek-code…ase-q8_0.gguf");
  assert.equal(shortName("C:\\m\\lite.gguf"), "lite.gguf");
});

test("counts that the server does not know are none", () => {
  assert.equal(counts({ shown: 3, accepted: 2 }), "3 shown, 2 accepted, 0 in part, 0 rejected");
});

test("a server that dies again and again is given up; one that dies now and then is not", () => {
  const often = new Restarts();
  assert.deepEqual([1, 2, 3, 4, 5].map((at) => often.died(at * 1000)), [true, true, true, true, false]);
  assert.match(often.message(), /5 times/);
  const rarely = new Restarts();
  assert.ok([1, 2, 3, 4, 5, 6].every((at) => rarely.died(at * 60_000)));
});
