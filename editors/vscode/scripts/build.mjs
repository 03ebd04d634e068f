// Bundles the extension, or its unit tests.
//
//   node scripts/build.mjs            ->  out/extension.js
//   node scripts/build.mjs --tests    ->  out/test/*.test.js
import { readdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

/** @type {import("esbuild").BuildOptions} */
const common = { bundle: true, platform: "node", target: "node20", external: ["vscode"], logLevel: "warning", metafile: true };

/** Everything in one file, names kept for legible stack traces. */
export function extension() {
  return build({ ...common, entryPoints: ["src/extension.ts"], outfile: "out/extension.js", minifySyntax: true, minifyWhitespace: true });
}

function tests() {
  rmSync("out/test", { recursive: true, force: true });
  const files = readdirSync("test").filter((name) => name.endsWith(".test.ts"));
  return build({ ...common, entryPoints: files.map((name) => `test/${name}`), outdir: "out/test" });
}

if (import.meta.url === `file://${process.argv[1]}`) await (process.argv.includes("--tests") ? tests() : extension());
