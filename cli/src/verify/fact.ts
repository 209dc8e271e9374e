/** A heading and its lines, for people; the same goes into JSON. */
export interface Section {
  readonly title: string;
  readonly facts: readonly Fact[];
}

export interface Fact {
  readonly name: string;
  readonly value: string;
  /** Something that a reader should stop at. */
  readonly warning?: boolean;
}
