// Makes the .vsix. Only what the extension needs goes in, from a folder made for it; no network.
//
//   npm run package                                                     ->  infill-0.1.0.vsix
//   npm run package -- --target linux-x64 --binary path/to/infill       ->  infill-linux-x64-0.1.0.vsix, program inside
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { createVSIX } from "@vscode/vsce";
import { extension } from "./build.mjs";

const STAGE = "out/package";

const { values } = parseArgs({ options: { target: { type: "string" }, binary: { type: "string" }, out: { type: "string" } } });
if (Boolean(values.target) !== Boolean(values.binary)) {
  console.error("package: --target and --binary go together: --target linux-x64 --binary path/to/infill");
  process.exit(1);
}

const { metafile } = await extension();
const manifest = JSON.parse(readFileSync("package.json", "utf8"));
stage(Object.keys(metafile?.inputs ?? {}));
if (values.target && values.binary) bundle(values.target, values.binary);
const name = ["infill", values.target, manifest.version].filter((part) => part).join("-");
const packagePath = path.resolve(values.out ?? `${name}.vsix`);
await createVSIX({ cwd: STAGE, packagePath, ...(values.target && { target: values.target }), dependencies: false, allowMissingRepository: true });

/** @param {string[]} inputs the files that the bundle was made of */
function stage(inputs) {
  rmSync(STAGE, { recursive: true, force: true });
  mkdirSync(`${STAGE}/out`, { recursive: true });
  const { scripts: _, devDependencies: __, private: ___, ...published } = manifest;
  writeFileSync(`${STAGE}/package.json`, JSON.stringify(published, null, 2));
  writeFileSync(`${STAGE}/LICENSE.txt`, `${["MIT", "APACHE"].map((which) => readFileSync(`../../LICENSE-${which}`, "utf8")).join("\n\n")}`);
  writeFileSync(`${STAGE}/ThirdPartyNotices.txt`, notices(inputs));
  writeFileSync(`${STAGE}/.vscodeignore`, ""); // all that is staged goes in
  copyFileSync("README.md", `${STAGE}/README.md`);
  copyFileSync("icon.png", `${STAGE}/icon.png`);
  copyFileSync("out/extension.js", `${STAGE}/out/extension.js`);
}

/**
 * The licences of the packages inside the bundle.
 * @param {string[]} inputs
 */
function notices(inputs) {
  const folder = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/;
  const packages = [...new Set(inputs.flatMap((input) => folder.exec(input)?.[0] ?? []))].sort();
  const texts = packages.map((at) => `${at.replace(/^.*node_modules\//, "")}\n\n${licence(at)}`);
  return texts.join(`\n\n${"-".repeat(80)}\n\n`);
}

/** @param {string} at a package's folder */
function licence(at) {
  const file = ["LICENSE", "LICENSE.md", "LICENSE.txt", "License.txt"].map((base) => path.join(at, base)).find((f) => existsSync(f));
  if (!file) throw new Error(`${at} has no licence file: name it in scripts/package.mjs`);
  return readFileSync(file, "utf8");
}

/**
 * @param {string} target
 * @param {string} binary
 */
function bundle(target, binary) {
  mkdirSync(`${STAGE}/bin`);
  const inside = `${STAGE}/bin/${target.startsWith("win32") ? "infill.exe" : "infill"}`;
  copyFileSync(binary, inside);
  chmodSync(inside, 0o755);
  // The licences of what is linked into it, which editors/release puts beside it.
  const from = path.dirname(binary);
  const licences = readdirSync(from).filter((name) => name.startsWith("THIRD-PARTY-LICENSES"));
  for (const name of licences) copyFileSync(path.join(from, name), `${STAGE}/bin/${name}`);
}
