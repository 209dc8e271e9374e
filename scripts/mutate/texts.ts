/**
 * Texts that people read are not mutated: messages of errors, reasons of checks, names of fields that
 * only messages show. Error codes, names of checks and members of documents are.
 */

interface Node {
  readonly type: string;
  readonly name?: string;
  readonly property?: Node;
  readonly object?: Node;
  readonly callee?: Node;
  readonly arguments?: readonly Node[];
}

interface Path {
  readonly node: Node;
  readonly key: string | number | null;
  readonly listKey?: string | null | undefined;
  readonly parentPath: Path | null;
}

/** Functions all of whose texts are messages. */
const MESSAGE_MAKERS = new Set(["fail", "pass", "notApplicable", "notBound", "malformed", "invalid", "unbound", "mismatch", "refusal", "describe", "kindOf"]);
/** Errors of our own have a code first, which counts. */
const BUILT_IN_ERRORS = new Set(["Error", "RangeError", "TypeError", "SyntaxError"]);
/** Methods of readers whose text argument names the field for messages. */
const FIELD_READERS = new Set(["take", "takeIf", "u8", "u16", "u32", "u64", "bytes", "text", "list", "bool", "option", "compact", "length", "fail", "end"]);
const READERS = new Set(["cursor", "reader", "block", "inner", "fields", "outer", "validity", "algorithm", "super", "this"]);

/** Stryker's interface for what is left out. */
export const texts = {
  shouldIgnore(path: unknown): string | undefined {
    const here = path as Path;
    if (here.node.type !== "StringLiteral" && here.node.type !== "TemplateLiteral") return undefined;
    return isText(here) ? "a text that people read" : undefined;
  },
};

const PASSED_THROUGH = new Set(["ConditionalExpression", "LogicalExpression", "BinaryExpression", "TemplateLiteral", "ParenthesizedExpression"]);

function isText(path: Path): boolean {
  let argument = path;
  while (argument.parentPath !== null && PASSED_THROUGH.has(argument.parentPath.node.type)) {
    // What decides between two texts is not a text.
    if (argument.key === "test") return false;
    argument = argument.parentPath;
  }
  const call = argument.parentPath?.node;
  if (call === undefined || argument.listKey !== "arguments") return false;
  const position = Number(argument.key);
  if (call.type === "NewExpression") return /(Error|Reader|Cursor|Fields)$/.test(call.callee?.name ?? "") && (position > 0 || BUILT_IN_ERRORS.has(call.callee?.name ?? ""));
  if (call.type !== "CallExpression") return false;
  const callee = call.callee;
  if (callee?.type === "Identifier") return MESSAGE_MAKERS.has(callee.name ?? "") || (position > 0 && position === (call.arguments?.length ?? 0) - 1 && /^(read|parse|decode|utf8Decode|hash|take|only|check)/.test(callee.name ?? ""));
  if (callee?.type !== "MemberExpression") return false;
  const receiver = callee.object?.type === "ThisExpression" ? "this" : callee.object?.name ?? "";
  return FIELD_READERS.has(callee.property?.name ?? "") && READERS.has(receiver);
}
