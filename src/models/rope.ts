// Rotary position embedding (arXiv 2104.09864) in the half-split convention of Transformers: dimension i turns with i + headDim/2.
// Frequencies are made in JavaScript in double precision; scaling kinds that are not listed here are refused by name.
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { UserError } from '../errors.js';
import { fusedRotation } from '../tensorflow/fused-ops.js';
import { kernelsInForce } from '../tensorflow/kernels.js';
import { tf } from '../tensorflow/ops.js';

export type RopeParameters =
  | { type: 'default'; theta: number }
  | { type: 'linear'; theta: number; factor: number }
  | { type: 'llama3'; theta: number; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPosition: number };

/** Radians a position, for each of the headDim/2 pairs. */
export function ropeFrequencies(rope: RopeParameters, headDim: number): Float64Array {
  const frequencies = Float64Array.from({ length: headDim / 2 }, (_, i) => rope.theta ** ((-2 * i) / headDim));
  if (rope.type === 'linear') return frequencies.map((frequency) => frequency / rope.factor);
  if (rope.type === 'llama3') return frequencies.map((frequency) => scaleLlama3(frequency, rope));
  return frequencies;
}

/** Llama 3.1: long wavelengths are stretched, short ones kept, those between interpolated. */
function scaleLlama3(frequency: number, rope: RopeParameters & { type: 'llama3' }): number {
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < rope.originalMaxPosition / rope.highFreqFactor) return frequency;
  if (wavelength > rope.originalMaxPosition / rope.lowFreqFactor) return frequency / rope.factor;
  const smooth = (rope.originalMaxPosition / wavelength - rope.lowFreqFactor) / (rope.highFreqFactor - rope.lowFreqFactor);
  return ((1 - smooth) * frequency) / rope.factor + smooth * frequency;
}

/** Cosines and sines of positions 0..P-1, each float32 `[P, headDim]` (the second half repeats the first). */
export function ropeTables(rope: RopeParameters, headDim: number, positionCount: number): { cos: Tensor2D; sin: Tensor2D } {
  return tablesOfFrequencies(ropeFrequencies(rope, headDim), positionCount);
}

/** As `ropeTables`, from `headDim / 2` frequencies in radians a position. */
export function tablesOfFrequencies(frequencies: Float64Array, positionCount: number): { cos: Tensor2D; sin: Tensor2D } {
  const half = frequencies.length;
  const headDim = 2 * half;
  const cos = new Float32Array(positionCount * headDim);
  const sin = new Float32Array(positionCount * headDim);
  for (let position = 0; position < positionCount; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * frequencies[i]!;
      const at = position * headDim + i;
      cos[at] = cos[at + half] = Math.cos(angle);
      sin[at] = sin[at + half] = Math.sin(angle);
    }
  }
  return { cos: tf.tensor2d(cos, [positionCount, headDim]), sin: tf.tensor2d(sin, [positionCount, headDim]) };
}

/**
 * Turns `x [..., headDim]` by tables that broadcast against it and whose second half repeats the first. No gradient reaches the tables; that of `x`
 * is the gradient turned back.
 */
export function applyRope(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const turned = tf.customGrad((...args) => {
    const save = args[1] as unknown as (tensors: Tensor[]) => void;
    save([cos, sin]);
    if (kernelsInForce()) {
      return { value: fusedRotation(args[0] as Tensor, cos, sin, false), gradFunc: (dy: Tensor, [cos, sin]: Tensor[]) => fusedRotation(dy, cos!, sin!, true) };
    }
    return { value: turn(args[0] as Tensor, cos, sin), gradFunc: (dy: Tensor, [cos, sin]: Tensor[]) => turn(dy, cos!, tf.neg(sin!)) };
  });
  return turned(x);
}

function turn(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  return tf.tidy(() => {
    const [first, second] = tf.split(x, 2, -1) as [Tensor, Tensor];
    return tf.add(tf.mul(x, cos), tf.mul(tf.concat([tf.neg(second), first], -1), sin));
  });
}

/**
 * Reads `rope_parameters` (newer) or `rope_theta` with `rope_scaling` (older) of a Transformers config.
 * @throws UserError for a kind of scaling that is not supported, or one whose numbers are missing.
 */
export function readRopeParameters(config: Record<string, unknown>, file: string): RopeParameters {
  const nested = (config['rope_parameters'] ?? config['rope_scaling'] ?? {}) as Record<string, unknown>;
  const theta = Number(nested['rope_theta'] ?? config['rope_theta'] ?? 10000);
  const type = String(nested['rope_type'] ?? nested['type'] ?? 'default');
  const number = (key: string): number => {
    const value = nested[key];
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) throw new UserError(`${file}: RoPE scaling "${type}" needs "${key}", a positive number; found ${JSON.stringify(value)}.`);
    return value;
  };
  if (!Number.isFinite(theta) || theta <= 0) throw new UserError(`${file}: rope_theta is ${JSON.stringify(config['rope_theta'])}; it must be a positive number.`);
  if (type === 'default') return { type, theta };
  if (type === 'linear') return { type, theta, factor: number('factor') };
  if (type === 'llama3') {
    return {
      type,
      theta,
      factor: number('factor'),
      lowFreqFactor: number('low_freq_factor'),
      highFreqFactor: number('high_freq_factor'),
      originalMaxPosition: number('original_max_position_embeddings'),
    };
  }
  throw new UserError(`${file}: RoPE scaling "${type}" is not supported; supported are default, linear and llama3.`);
}
