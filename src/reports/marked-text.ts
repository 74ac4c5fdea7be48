// Text that is written while its tokens arrive, with the accepted drafts among them marked. Tokens are not text: a character may be
// spread over several, so what is written is always the growth of the whole text, and half characters wait.

export type Marking = 'colour' | 'brackets' | 'none';

const marks: Record<Marking, { open: string; close: string }> = {
  colour: { open: '\x1b[32m', close: '\x1b[39m' },
  brackets: { open: '[', close: ']' },
  none: { open: '', close: '' },
};

export interface MarkedTextWriter {
  /** Adds tokens, the first `acceptedDrafts` of which were drafts. */
  write(tokens: readonly number[], acceptedDrafts: number): void;
  /** Writes what still waits. */
  end(): void;
}

/** Writes text by `print` as tokens come; `decode` turns all tokens so far into text. */
export function markedTextWriter(decode: (ids: readonly number[]) => string, print: (text: string) => void, marking: Marking): MarkedTextWriter {
  const { open, close } = marks[marking];
  const ids: number[] = [];
  let written = 0;
  const grow = (marked: boolean, whole = false): void => {
    const text = decode(ids);
    const end = !whole && text.endsWith('\ufffd') ? text.length - 1 : text.length;
    if (end <= written) return;
    const added = text.slice(written, end);
    print(marked ? `${open}${added}${close}` : added);
    written = end;
  };
  return {
    write(tokens, acceptedDrafts) {
      ids.push(...tokens.slice(0, acceptedDrafts));
      if (acceptedDrafts > 0) grow(true);
      ids.push(...tokens.slice(acceptedDrafts));
      if (tokens.length > acceptedDrafts) grow(false);
    },
    end: () => grow(false, true),
  };
}
