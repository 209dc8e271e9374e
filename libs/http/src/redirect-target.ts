import { HttpError } from "./errors.ts";

const MAX_REDIRECTS = 3;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export interface RedirectQuestion {
  readonly status: number;
  /** The answer's header, where it has one. */
  readonly location: string | undefined;
  /** What was asked. */
  readonly url: URL;
  /** How many redirects led here. */
  readonly followed: number;
}

/**
 * Where an answer sends its request; undefined where it is an answer. The one rule for all who
 * follow: at most three, and from https to https only, for whoever can answer for a plain server
 * could send this host anywhere.
 * @throws HttpError `redirect-refused`
 */
export function redirectTarget({ status, location, url, followed }: RedirectQuestion): URL | undefined {
  if (!REDIRECTS.has(status) || location === undefined) return undefined;
  const next = URL.parse(location, url);
  if (url.protocol !== "https:" || next?.protocol !== "https:")
    throw new HttpError("redirect-refused", `${url.host} redirects; that is followed from https to https only`);
  if (followed === MAX_REDIRECTS)
    throw new HttpError("redirect-refused", `${url.host} redirects more than ${MAX_REDIRECTS} times`);
  return next;
}
