// Writes package.json's contributes.configuration from the server's schema.
//
//   INFILL_BIN=../../target/release/infill npm run settings
import { readFileSync, writeFileSync } from "node:fs";
import { configuration, readSchema } from "./schema.mjs";

const binary = process.env["INFILL_BIN"] ?? "../../target/release/infill";
const file = new URL("../package.json", import.meta.url);
const manifest = JSON.parse(readFileSync(file, "utf8"));
manifest.contributes.configuration = configuration(readSchema(binary));
writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
