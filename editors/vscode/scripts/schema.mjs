// package.json's settings, made from the server's own schema, so that each is described and checked in one place.
//
//   configuration(readSchema("/path/to/infill")).properties["infill.completion.lines"]
//   ->  { type: "string", enum: ["one", "block", "auto"], default: "auto", description: ..., scope: "window" }
import { execFileSync } from "node:child_process";

/** The extension's own settings. A repository's settings must not choose a program or a file: machine scope. */
const OWN = {
  "infill.path": {
    type: "string",
    default: "",
    scope: "machine",
    description: "The infill program. Empty: the one that came with this extension, else the one on PATH or in ~/.cargo/bin.",
  },
  "infill.log": {
    type: "string",
    default: "",
    scope: "machine",
    description: "A file that the server writes its log to. Empty: the output channel. INFILL_LOG sets the level.",
  },
};

const MODEL = {
  type: "string",
  default: "",
  scope: "machine",
  description:
    "The model: \"nano\" (inside the program), a folder with config.json, safetensors and tokenizer.json, or a GGUF file. Empty: as config.toml or INFILL_MODEL say.",
};

/** Sections that the server takes from the user's own file and environment only: no editor's settings. */
const USERS_OWN = ["engine", "server"];

/**
 * @typedef {{ [key: string]: any }} Json
 * @param {string} binary
 * @returns {Json} what `infill config --schema` prints
 */
export function readSchema(binary) {
  // Its environment is its configuration, and INFILL_BIN is none of its keys.
  const { INFILL_BIN: _, ...env } = process.env;
  return JSON.parse(execFileSync(binary, ["config", "--schema"], { encoding: "utf8", env }));
}

/**
 * @param {Json} schema
 * @returns {{ title: string, properties: Json }}
 */
export function configuration(schema) {
  const own = (/** @type {string} */ key) => USERS_OWN.some((section) => key.startsWith(`infill.${section}.`));
  const allowed = leaves(schema, schema, "infill").filter(([key]) => !own(key));
  const server = Object.fromEntries(allowed);
  return { title: "infill", properties: { ...server, "infill.model": MODEL, ...OWN } };
}

/**
 * @param {Json} schema
 * @param {Json} node
 * @param {string} key
 * @returns {[string, Json][]}
 */
function leaves(schema, node, key) {
  const resolved = resolve(schema, node);
  if (!resolved.properties) return [[key, setting(schema, resolved)]];
  return Object.entries(resolved.properties).flatMap(([name, child]) => leaves(schema, child, `${key}.${name}`));
}

/**
 * Follows `$ref`; what stands beside it wins.
 * @param {Json} schema
 * @param {Json} node
 */
function resolve(schema, node) {
  const name = node.$ref?.replace("#/$defs/", "");
  return name ? { ...schema.$defs[name], ...node } : node;
}

/**
 * @param {Json} schema
 * @param {Json} node
 */
function setting(schema, node) {
  const { anyOf, enum: values, items, minimum, maximum, pattern } = node;
  const type = anyOf ? anyOf.flatMap((/** @type {Json} */ one) => resolve(schema, one).type) : node.type;
  const checks = { enum: values, items, minimum, maximum, pattern };
  const given = Object.fromEntries(Object.entries(checks).filter(([, value]) => value !== undefined));
  return { type, ...given, default: node.default, scope: "window", description: node.description };
}
