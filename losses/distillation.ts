// Distillation: every valid slot pays its distance from the target's own distribution, all slots alike. The same
// payments with other weights are `positionalWeighting` and `dpace` with `on`.
import type { BlockScores, LossTerm } from './block-scores.js';
import { positionalWeighting } from './positional-weighting.js';

/** Mean KL(p ‖ q) in nats over valid slots; 0 where nothing is valid. Throws where the scores have no teacher. */
export function forwardKl(scores: BlockScores, _options: Record<string, never> = {}): LossTerm {
  return positionalWeighting(scores, { gamma: null, on: 'kl' });
}

/** Mean total variation 1 - Σ min(p, q) over valid slots; 0 where nothing is valid. Throws where the scores have no teacher. */
export function totalVariation(scores: BlockScores, _options: Record<string, never> = {}): LossTerm {
  return positionalWeighting(scores, { gamma: null, on: 'totalVariation' });
}

/** Mean λ·kl + (1-λ)·totalVariation over valid slots, λ = exp(-η·overlap) detached, η = 3. arXiv 2602.23881, the hybrid objective. */
export function distillationBlend(scores: BlockScores, { eta = 3 }: { eta?: number } = {}): LossTerm {
  return positionalWeighting(scores, { gamma: null, on: 'blend', eta });
}
