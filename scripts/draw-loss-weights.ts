// Draws losses/plots/*.svg for losses/README.md: how one block's slots share the gradient of each loss, on one worked example. The figures come
// from the losses themselves, differentiated; nothing is drawn by hand.
//   node dist/scripts/draw-loss-weights.js
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import * as losses from '../losses/index.js';
import { writeFileAtomic } from '../src/files.js';
import { packageRoot } from '../src/package-root.js';
import { loadTensorflow } from '../src/tensorflow/load.js';
import { tf } from '../src/tensorflow/ops.js';

/** The worked example: seven slots, of which the fourth and the last are wrong. */
const example = {
  probability: [0.9, 0.8, 0.7, 0.2, 0.6, 0.9, 0.4],
  correct: [1, 1, 1, 0, 1, 1, 0],
  kl: [0.03, 0.08, 0.12, 0.9, 0.25, 0.05, 0.5],
  overlap: [0.95, 0.88, 0.82, 0.35, 0.7, 0.92, 0.55],
};
const slots = example.probability.length;

interface Series {
  label: string;
  loss: (scores: losses.BlockScores) => losses.LossTerm;
}
interface Plot {
  file: string;
  title: string;
  /** The first is drawn as bars, a second as steps over them. */
  series: Series[];
  /** Draw the gradient with respect to this score alone, times the number of slots; default all scores, as shares of their sum. */
  of?: 'kl';
}

const plots: Plot[] = [
  {
    file: 'positional-weighting',
    title: 'positional weighting',
    series: [
      { label: 'γ = 10', loss: (s) => losses.positionalWeighting(s, { gamma: 10 }) },
      { label: 'γ = 4', loss: (s) => losses.positionalWeighting(s, { gamma: 4 }) },
    ],
  },
  { file: 'first-error-focal', title: 'first-error focal', series: [{ label: 'f = 0', loss: (s) => losses.firstErrorFocal(s) }] },
  { file: 'chain', title: 'chain', series: [{ label: 'chain', loss: (s) => losses.chain(s) }] },
  {
    file: 'dpace',
    title: 'D-PACE',
    series: [
      { label: 'α = 0.5', loss: (s) => losses.dpace(s) },
      { label: 'α = 0.1', loss: (s) => losses.dpace(s, { alpha: 0.1 }) },
    ],
  },
  {
    file: 'distillation',
    title: 'blend: part of KL, the rest is total variation',
    series: [{ label: 'η = 3', loss: (s) => losses.distillationBlend(s) }],
    of: 'kl',
  },
  { file: 'acceptance-chain', title: 'acceptance chain', series: [{ label: 'acceptance chain', loss: (s) => losses.acceptanceChain(s) }] },
];

/** Each slot's share of the sum of |d loss / d score|, over the scores that the loss reads; or the size for one score alone. */
function weights({ loss }: Series, of?: 'kl'): number[] {
  return tf.tidy(() => {
    const row = (values: number[]) => tf.tensor2d([values]);
    const inputs = { logProb: row(example.probability.map(Math.log)), kl: row(example.kl), overlap: row(example.overlap) };
    const rest = { correct: row(example.correct), valid: tf.ones([1, slots]) as Tensor2D };
    const total = (...tensors: Tensor[]) => {
      const [logProb, kl, overlap] = tensors as Tensor2D[];
      const value = loss({ ...rest, logProb: logProb!, kl: kl!, overlap: overlap! }).loss;
      // Nothing of it, but it ties in the scores that this loss does not read.
      return tf.add(value, tf.mul(0, tf.sum(tf.addN(tensors))));
    };
    const gradients = tf.grads(total)(Object.values(inputs)).map((gradient) => Array.from(gradient.dataSync()));
    if (of) return gradients[Object.keys(inputs).indexOf(of)]!.map((gradient) => Math.abs(gradient) * slots);
    const sizes = Array.from({ length: slots }, (_, k) => gradients.reduce((sum, gradient) => sum + Math.abs(gradient[k]!), 0));
    const whole = sizes.reduce((a, b) => a + b, 0);
    return sizes.map((size) => size / whole);
  });
}

const [left, top, columnWidth, height] = [36, 40, 46, 110];

function draw({ title, series, of }: Plot): string {
  const values = series.map((one) => weights(one, of));
  const most = of ? 1 : Math.max(...values.flat());
  const y = (share: number) => top + height * (1 - share / most);
  const x = (k: number) => left + k * columnWidth;
  const percent = (share: number) => (share === 0 ? '0' : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`);
  const round = (value: number) => Number(value.toFixed(1));
  const bars = values[0]!.map((share, k) => {
    // A figure stands above its bar, or in it where the second series has its line there.
    const line = values[1]?.[k];
    const inside = line !== undefined && line > share && y(share) - y(line) < 18;
    return (
      `<rect class="bar${example.correct[k] === 1 ? '' : ' wrong'}" x="${x(k) + 6}" y="${round(y(share))}" width="${columnWidth - 12}" height="${round(top + height - y(share))}" rx="2"/>` +
      `<text class="${inside ? 'inside' : 'value'}" x="${x(k) + columnWidth / 2}" y="${round(y(share)) + (inside ? 13 : -4)}">${percent(share)}</text>`
    );
  });
  const steps = (values[1] ?? []).map((share, k) => `<path class="step" d="M${x(k) + 3} ${round(y(share))}h${columnWidth - 6}"/>`);
  const axis = example.probability.map(
    (p, k) =>
      `<text class="axis" x="${x(k) + columnWidth / 2}" y="${top + height + 16}">${k + 1}</text>` +
      `<text class="small" x="${x(k) + columnWidth / 2}" y="${top + height + 31}">p ${p}</text>`,
  );
  const width = left + slots * columnWidth + 12;
  const key = series.map(({ label }, index) => (series.length === 1 ? '' : index === 0 ? `bars: ${label}` : `lines: ${label}`)).filter(Boolean).join(', ');
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top + height + 44}" width="${width}" role="img" aria-label="${title}: ${values[0]!.map((share, k) => `slot ${k + 1} ${percent(share)}`).join(', ')}">
<style>
text { font: 11px system-ui, sans-serif; fill: #57606a; text-anchor: middle }
.title { font-size: 13px; font-weight: 600; fill: #1f2328; text-anchor: start }
.key { text-anchor: end } .inside { fill: #fff } .small { font-size: 9.5px } .bar { fill: #4e79a7 } .wrong { fill: #e15759 }
.step { stroke: #1f2328; stroke-width: 2 } .base { stroke: #d0d7de }
@media (prefers-color-scheme: dark) { text { fill: #9198a1 } .title { fill: #f0f6fc } .inside { fill: #0d1117 } .step { stroke: #f0f6fc } .base { stroke: #3d444d } .bar { fill: #6f9bc8 } .wrong { fill: #f07b7d } }
</style>
<text class="title" x="${left}" y="16">${title}</text>
<text class="key" x="${width - 12}" y="16">${key}</text>
<path class="base" d="M${left} ${top + height}h${slots * columnWidth}"/>
${[...bars, ...steps, ...axis].join('\n')}
</svg>
`;
}

await loadTensorflow();
const folder = join(packageRoot(), 'losses/plots');
await mkdir(folder, { recursive: true });
for (const plot of plots) await writeFileAtomic(join(folder, `${plot.file}.svg`), draw(plot));
console.log(`${plots.length} plots in ${folder}`);
