// Where the program is looked for, and what is said when it is not there or not the right one.
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { candidates, find, fits, NoBinary, parseVersion, type Places } from "../src/binary";

const linux: Places = { setting: "", bundled: "/ext/bin", home: "/home/u", env: { PATH: "/a:/b:" }, platform: "linux" };

test("setting, bundled, PATH, cargo, in this order", () => {
  assert.deepEqual(candidates(linux), ["/ext/bin/infill", "/a/infill", "/b/infill", "/home/u/.cargo/bin/infill"]);
  assert.deepEqual(candidates({ ...linux, setting: "~/x/infill" }), ["/home/u/x/infill"]);
  const windows = { ...linux, bundled: "C:\\ext\\bin", home: "C:\\u", env: { Path: "C:\\a;D:\\b" }, platform: "win32" };
  assert.deepEqual(candidates(windows).slice(0, 2), ["C:\\ext\\bin\\infill.exe", "C:\\a\\infill.exe"]);
});

test("versions fit when major and minor agree", () => {
  assert.equal(parseVersion("infill 0.1.0\n"), "0.1.0");
  assert.equal(parseVersion("infill 0.2.0-rc.1\n"), "0.2.0-rc.1");
  assert.equal(parseVersion("GNU infill 0.1.0"), undefined);
  assert.ok(fits("0.1.9", "0.1.0"));
  assert.ok(!fits("0.2.0", "0.1.0"));
  assert.ok(!fits("1.1.0", "0.1.0"));
});

/** A folder with a program in it that is never run. */
function folder(): string {
  const at = mkdtempSync(path.join(tmpdir(), "infill-"));
  writeFileSync(path.join(at, "infill"), "");
  chmodSync(path.join(at, "infill"), 0o755);
  return at;
}

test("a program of another version is passed over, and named when there is no better", async () => {
  const [old, good] = [folder(), folder()];
  const places = { ...linux, bundled: "/nowhere", env: { PATH: `${old}:${good}` }, home: "/nowhere" };
  const answer = async (file: string) => (file.startsWith(old) ? "infill 0.0.9" : "infill 0.1.4");
  assert.deepEqual(await find(places, "0.1.0", answer), { path: path.join(good, "infill"), version: "0.1.4" });
  await assert.rejects(find({ ...places, env: { PATH: old } }, "0.1.0", answer), (error: NoBinary) => {
    assert.match(error.message, /is infill 0\.0\.9, this extension needs 0\.1/);
    assert.match(error.hint, /cargo install infill/);
    return true;
  });
});

test("nothing found names the remedy; a wrong setting names itself", async () => {
  const nowhere = { ...linux, env: {}, home: "/nowhere" };
  await assert.rejects(find(nowhere, "0.1.0"), (error: NoBinary) => /cargo install infill/.test(error.hint));
  await assert.rejects(find({ ...nowhere, setting: "/no/infill" }, "0.1.0"), (error: NoBinary) => {
    assert.match(error.message, /"\/no\/infill"/);
    return /infill\.path/.test(error.hint);
  });
});

test("a program that is not infill is not started", async () => {
  const places = { ...linux, setting: path.join(folder(), "infill") };
  await assert.rejects(find(places, "0.1.0", async () => "hello"), /does not answer as infill does/);
});
