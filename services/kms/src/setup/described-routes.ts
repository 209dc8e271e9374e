import type { DescribedRoute } from "@dstack/rpc";

const refused = { 400: "Refused; the text says why" };

/** What the set-up listener serves beside the Onboard service. */
export const DESCRIBED_SET_UP: readonly DescribedRoute[] = [
  { path: "/", summary: "The set-up page", answers: ["text/html"] },
  { path: "/health", summary: "Alive", answers: ["text/plain"] },
  { path: "/state", summary: "Whether there are keys, and what a bootstrap told", answers: ["application/json"] },
  { path: "/finish", summary: "Ends the set-up once there are keys", answers: ["text/plain"], otherwise: refused },
  {
    path: "/restore",
    summary: "Takes a backup, answers with a session for operators (?domain=NAME)",
    answers: ["application/json"],
    verb: "post",
    otherwise: refused,
  },
  {
    path: "/restore/share",
    summary: "Takes an operator's share; the last that is needed restores the keys",
    answers: ["application/json"],
    verb: "post",
    otherwise: refused,
  },
];
