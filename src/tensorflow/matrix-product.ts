// The product of two matrices, by a kernel of draftalign's where that is faster, else by TensorFlow's.
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-node-gpu';
import { fusedProduct, fusedThinProduct } from './fused-ops.js';
import { productsInForce, thinProductsInForce } from './kernels.js';
import { tf } from './ops.js';

/** From this harmonic size `m·n / (m + n)` on, the arithmetic that AMX saves is more than what it costs to prepare both matrices for it (measured at about 50). */
const leastHarmonicSize = 50;

/** Up to this many rows, what TensorFlow's product spends on the other matrix before it multiplies is felt. One row it multiplies as it lies. */
const mostThinRows = 48;

/** `a · b`, each transposed first where asked: float32 `[m, n]`, with errors no larger than TensorFlow's. Differentiable in both. */
export function matrixProduct(a: Tensor2D, b: Tensor2D, transposeA = false, transposeB = false): Tensor2D {
  const m = a.shape[transposeA ? 1 : 0];
  const n = b.shape[transposeB ? 0 : 1];
  const thin = thinProductsInForce() && !transposeA && transposeB && m > 1 && m <= mostThinRows;
  const byTiles = productsInForce() && (m * n) / (m + n) >= leastHarmonicSize;
  if (!thin && !byTiles) return tf.matMul(a, b, transposeA, transposeB);
  const multiply = tf.customGrad((...args) => {
    const [a, b] = args as [Tensor2D, Tensor2D];
    const save = args[2] as unknown as (tensors: Tensor[]) => void;
    save([a, b]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
      const [a, b] = saved as [Tensor2D, Tensor2D];
      const dc = dy as Tensor2D;
      return [
        transposeA ? matrixProduct(b, dc, transposeB, true) : matrixProduct(dc, b, false, !transposeB),
        transposeB ? matrixProduct(dc, a, true, transposeA) : matrixProduct(a, dc, !transposeA, false),
      ];
    };
    return { value: byTiles ? fusedProduct(a, b, transposeA, transposeB) : fusedThinProduct(a, b), gradFunc };
  });
  return multiply(a, b) as Tensor2D;
}
