/** Thread, code, library, function and source line around the one part that says something. */
const OPENSSL_LINE = /\b(?:[0-9A-F]+:)?error:[0-9A-F]{8}:[^:\n]*:[^:\n]*:([^:\n]+)(?::[^:\n]+:\d+:[^\n]*)?\n?/g;
/** Node tells whoever starts it what to do about certificates; no user of ours starts it. */
const NODE_ADVICE = /; if the root CA is installed locally, try running Node\.js with --use-system-ca/g;

/** An error's text as it may be shown: what a library says to its own developers is left out. */
export const plainText = (message: string): string =>
  message.replace(OPENSSL_LINE, "$1").replace(NODE_ADVICE, "").trimEnd();
