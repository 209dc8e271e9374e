/**
 * Texts that people read are not mutated: messages of errors, reasons of checks, names of fields that
 * only messages show, and what is worked out for them alone. Error codes, names of checks and members
 * of documents are mutated.
 */

interface Node {
  readonly type: string;
  readonly name?: string;
  readonly value?: unknown;
  readonly quasis?: readonly { readonly value: { readonly raw: string } }[];
  readonly property?: Node;
  readonly properties?: readonly Node[];
  readonly key?: Node;
  readonly left?: Node;
  readonly object?: Node;
  readonly id?: Node | null;
  readonly callee?: Node;
  readonly arguments?: readonly Node[];
}

interface Path {
  readonly node: Node;
  readonly key: string | number | null;
  readonly listKey?: string | null | undefined;
  readonly parentPath: Path | null;
}

/** Functions all of whose arguments are texts. */
const MESSAGE_MAKERS = new Set([
  "pass",
  "notApplicable",
  "notBound",
  "malformed",
  "invalid",
  "unbound",
  "mismatch",
  "refusal",
  "refused",
  "unsupported",
  "unusable",
  "invalidWitness",
  "between",
  "differs",
  "describe",
  "kindOf",
]);
/** Functions whose first argument is a text and whose second is a code. */
const TEXT_AND_CODE = new Set(["fail", "failed"]);
/** Functions that make nothing but texts. */
const TEXT_FUNCTIONS = new Set(["describe", "kindOf", "label", "isoTime"]);
/** Functions whose arguments behind the first are texts: a condition or value, then what to say of it. */
const CHECKERS = new Set(["check", "insideHead", "members", "bytes", "digest", "octets"]);
/** Readers of a value, whose last argument names it for messages. */
const VALUE_READERS = /^(read|parse|decode|utf8Decode|hash\d|take|only|reading|checked|slice|part)/;
/** Methods of readers whose text argument names the field for messages. */
const FIELD_READERS = new Set([
  "take",
  "takeIf",
  "u8",
  "u16",
  "u32",
  "u64",
  "bytes",
  "text",
  "list",
  "bool",
  "option",
  "compact",
  "length",
  "fail",
  "end",
  "map",
  "array",
]);
const READERS = new Set([
  "cursor",
  "reader",
  "block",
  "inner",
  "fields",
  "outer",
  "validity",
  "algorithm",
  "super",
  "this",
]);
const BUILT_IN_ERRORS = new Set(["Error", "RangeError", "TypeError", "SyntaxError"]);

/** Stryker's interface for what is left out. */
export const texts = {
  shouldIgnore(path: unknown): string | undefined {
    return isForMessages(path as Path) ? "a text that people read" : undefined;
  },
};

function isForMessages(path: Path): boolean {
  const { node, parentPath } = path;
  if (node.type === "FunctionDeclaration") return TEXT_FUNCTIONS.has(node.id?.name ?? "");
  if (node.type === "VariableDeclarator") return TEXT_FUNCTIONS.has(node.id?.name ?? "");
  // this.name = "XError"
  if (parentPath?.node.type === "AssignmentExpression" && parentPath.node.left?.property?.name === "name") return true;
  if (path.listKey === "arguments") return isTextArgument(path);
  return isLiteral(node) && isSentence(node) && parentPath !== null && returned(path);
}

function isTextArgument({ node, key, parentPath }: Path): boolean {
  const call = parentPath?.node;
  const position = Number(key);
  const callee = call?.callee;
  if (call?.type === "NewExpression") {
    const name = callee?.name ?? "";
    return name.endsWith("Error")
      ? position > 0 || BUILT_IN_ERRORS.has(name)
      : /(Reader|Cursor|Fields)$/.test(name) && position > 0 && isLiteral(node);
  }
  if (call?.type !== "CallExpression") return false;
  if (callee?.type === "Identifier") {
    const name = callee.name ?? "";
    return (
      MESSAGE_MAKERS.has(name) ||
      (TEXT_AND_CODE.has(name) && position === 0) ||
      (name === "check" && position > 0) ||
      (CHECKERS.has(name) && position > 0 && isLiteral(node)) ||
      (VALUE_READERS.test(name) && position > 0 && isLiteral(node))
    );
  }
  if (callee?.type !== "MemberExpression" || !isLiteral(node)) return false;
  const receiver = callee.object?.type === "ThisExpression" ? "this" : (callee.object?.name ?? "");
  return FIELD_READERS.has(callee.property?.name ?? "") && READERS.has(receiver);
}

const isLiteral = ({ type }: Node): boolean => type === "StringLiteral" || type === "TemplateLiteral";

const isSentence = ({ value, quasis }: Node): boolean =>
  typeof value === "string" ? / /.test(value) : (quasis ?? []).some((quasi) => / /.test(quasi.value.raw));

/** A reason that a function returns, whole or as one branch of several. */
function returned(path: Path): boolean {
  let here = path;
  while (here.parentPath?.node.type === "ConditionalExpression" && here.key !== "test") here = here.parentPath;
  const parent = here.parentPath?.node.type;
  return parent === "ReturnStatement" || (parent === "ArrowFunctionExpression" && here.key === "body");
}
