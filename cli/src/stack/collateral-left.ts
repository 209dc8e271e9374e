import { AttestError, daysLeftOf, intelTrustAnchor, signedDocumentsOf } from "@dstack/attest";
import { checkCollateral, CollateralFolder } from "@dstack/attest/node";
import { collateralCacheFolder, collateralPinFolder } from "../local/collateral-folders.ts";

/** A pin is not renewed: a week is left to replace it. */
const MIN_PIN_DAYS = 7;

/** For `dstack doctor`: until when what this machine verifies with is good. */
export async function collateralLeft(
  env: NodeJS.ProcessEnv,
  nowMs: number,
): Promise<{ readonly name: string; readonly result: "ok" | "note"; readonly detail: string }> {
  const now = Math.floor(nowMs / 1000);
  const [pins, fetched] = await Promise.all([
    daysLeftIn(collateralPinFolder(env), now),
    daysLeftIn(collateralCacheFolder(env), now),
  ]);
  const detail = [
    ...(pins.length === 0
      ? []
      : [`pinned: a document ends in ${Math.floor(Math.min(...pins))} days, and no pin is renewed`]),
    ...(fetched.length === 0
      ? []
      : [`fetched: good for ${Math.floor(Math.max(...fetched))} days, and renewed when it is used`]),
  ];
  return {
    name: "collateral",
    result: pins.some((days) => days < MIN_PIN_DAYS) ? "note" : "ok",
    detail: detail.length === 0 ? "none is kept: it is fetched when evidence is verified" : detail.join("; "),
  };
}

/** Days until the first document of each file ends. What cannot be read is no collateral. */
async function daysLeftIn(folder: string, now: number): Promise<number[]> {
  const store = new CollateralFolder(folder);
  const days: number[] = [];
  for (const key of await store.keys()) {
    try {
      const stored = await store.read(key);
      if (stored === undefined) continue;
      const { documents } = checkCollateral(stored.collateral, intelTrustAnchor());
      days.push(Math.min(...daysLeftOf(signedDocumentsOf(documents), now).values()));
    } catch (error) {
      if (!(error instanceof AttestError)) throw error;
    }
  }
  return days;
}
