// What is sent to the server: only what somebody set, only keys it knows.
import assert from "node:assert/strict";
import test from "node:test";
import manifest from "../package.json";
import { chosen, collect, covers, serverKeys, toggled } from "../src/settings";

test("only what was set is sent, nested", () => {
  const set: Record<string, object> = {
    "completion.lines": { globalValue: "one" },
    "completion.max_tokens": { globalValue: 9, workspaceValue: 5 },
    enabled: { workspaceValue: false },
    device: {},
  };
  const sent = collect(["completion.lines", "completion.max_tokens", "enabled", "device", "languages"], (key) => set[key]);
  assert.deepEqual(sent, { completion: { lines: "one", max_tokens: 5 }, enabled: false });
});

test("the server's keys are without the extension's own and without the model", () => {
  const keys = serverKeys(manifest);
  assert.ok(keys.includes("completion.show_threshold"));
  for (const own of ["path", "log", "model"]) assert.ok(!keys.includes(own), own);
});

test("what a repository must not choose is the machine's", () => {
  const properties: Record<string, { scope: string }> = manifest.contributes.configuration.properties;
  for (const key of ["infill.path", "infill.log", "infill.model"]) assert.equal(properties[key]?.scope, "machine", key);
});

test("wrong values are marked where they are written", () => {
  const properties: Record<string, { scope: string; pattern?: string; minimum?: number; maximum?: number }> = manifest.contributes.configuration.properties;
  const fits = (key: string, word: string) => new RegExp(properties[key]?.pattern ?? "").test(word);
  for (const right of ["auto", "0", "256MB", "1 GiB", "4k"]) assert.ok(fits("infill.cache.bytes", right), right);
  for (const wrong of ["much", "-1", "256XB", "1.5GB", ""]) assert.ok(!fits("infill.cache.bytes", wrong), wrong);
  for (const wrong of ["on", "0.5", ""]) assert.ok(!fits("infill.completion.show_threshold", wrong), wrong);
  assert.ok(!fits("infill.device", "gpu"));
  for (const key of ["infill.completion.max_tokens", "infill.completion.alternatives", "infill.context.tokens", "infill.completion.show_threshold"]) {
    assert.equal(typeof properties[key]?.minimum, "number", key);
    assert.equal(typeof properties[key]?.maximum, "number", key);
  }
});

test("the nearest value wins, and false is a value", () => {
  assert.equal(chosen({ globalValue: true, workspaceValue: false }), false);
  assert.equal(chosen(undefined), undefined);
});

test("languages", () => {
  assert.ok(covers([], "python"));
  assert.ok(!covers(["!python"], "python"));
  assert.ok(!covers(["rust"], "python"));
  assert.ok(covers(["!markdown"], "python"));
});

test("toggling a language twice is where it began, and touches no other", () => {
  for (const begin of [[], ["!markdown"], ["python", "rust"], ["python"]]) {
    const off = toggled(begin, "python");
    assert.ok(!covers(off, "python"), `${begin} off: ${off}`);
    assert.equal(covers(off, "markdown"), covers(begin, "markdown"), `${begin}: ${off}`);
    assert.deepEqual(toggled(off, "python"), begin);
  }
  assert.deepEqual(toggled(["rust"], "python"), ["rust", "python"]);
});
