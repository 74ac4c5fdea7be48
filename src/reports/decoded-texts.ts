// Decoded texts with their accepted drafts marked, the same prompt of several objectives one below the other.
import type { CellExample } from '../ablation/cell-result.js';
import { escapeHtml } from './html.js';

/** HTML of the first text of every domain, for each of the given objectives. */
export function markedTexts(domains: readonly string[], examples: readonly { label: string; texts: CellExample[] }[]): string {
  return domains
    .map((domain) =>
      examples
        .map(({ label, texts }) => {
          const text = texts.find(({ set }) => set === domain);
          return text === undefined ? '' : `<h3>${escapeHtml(domain)}, ${escapeHtml(label)}: ${meanAccepted(text)} tokens a round</h3>${markedText(text)}`;
        })
        .join(''),
    )
    .join('\n');
}

function markedText({ prompt, first, rounds }: CellExample): string {
  const pieces = rounds.map(({ drafted, accepted, next }) => {
    const drafts = drafted.slice(0, accepted).join('');
    return `${drafts === '' ? '' : `<mark>${escapeHtml(drafts)}</mark>`}${escapeHtml(next)}`;
  });
  return `<p class="text"><span class="prompt">${escapeHtml(prompt)}</span>${escapeHtml(first)}${pieces.join('')}</p>`;
}

function meanAccepted({ rounds }: CellExample): string {
  return (rounds.reduce((sum, { accepted }) => sum + accepted + 1, 0) / Math.max(1, rounds.length)).toFixed(2);
}
