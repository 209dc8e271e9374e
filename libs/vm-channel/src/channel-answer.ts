/** An answer to a request; a refusal by the peer is one with its status. */
export interface ChannelAnswer {
  readonly status: number;
  readonly json: unknown;
}

export interface RequestOptions {
  /** Deadline in milliseconds; 30,000 unless given. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}
