// Seeded random numbers whose whole state is a small JSON value, so that a resumed run draws what it would have drawn.
// Generator: xoshiro128** (Blackman and Vigna, 2018), seeded by SplitMix32; the same on every platform.

/** The generator's state: four unsigned 32-bit words and a spare normal draw, if one is waiting. */
export interface RandomState {
  words: [number, number, number, number];
  spareNormal: number | null;
}

/** A deterministic source of random numbers. */
export class Random {
  readonly #words: Uint32Array;
  #spareNormal: number | null = null;

  constructor(seed: number | RandomState) {
    if (typeof seed === 'number') {
      this.#words = new Uint32Array(4);
      let state = seed >>> 0;
      // Seeds above 32 bits keep their high part.
      let high = Math.floor(Math.abs(seed) / 2 ** 32) >>> 0;
      for (let i = 0; i < 4; i++) {
        state = (state + 0x9e3779b9) >>> 0;
        let mixed = state ^ high;
        mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
        mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
        this.#words[i] = (mixed ^ (mixed >>> 15)) >>> 0;
        high = Math.imul(high, 0x85ebca6b) >>> 0;
      }
    } else {
      this.#words = Uint32Array.from(seed.words);
      this.#spareNormal = seed.spareNormal;
    }
  }

  /** A generator for one purpose: the same seed and labels give the same numbers, other labels independent ones. */
  static fork(seed: number, ...labels: (string | number)[]): Random {
    let hash = 0x811c9dc5;
    for (const character of JSON.stringify([seed, ...labels])) {
      hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193) >>> 0;
    }
    const random = new Random(hash);
    for (let i = 0; i < 8; i++) random.uint32();
    return random;
  }

  /** Uniform in 0..2^32-1. */
  uint32(): number {
    const words = this.#words;
    const product = Math.imul(words[1]!, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = words[1]! << 9;
    words[2]! ^= words[0]!;
    words[3]! ^= words[1]!;
    words[1]! ^= words[2]!;
    words[0]! ^= words[3]!;
    words[2]! ^= shifted;
    words[3] = (words[3]! << 11) | (words[3]! >>> 21);
    return result;
  }

  /** Uniform in [0, 1), with 53 bits. */
  next(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** Uniform among the integers 0..n-1. */
  int(n: number): number {
    return Math.floor(this.next() * n);
  }

  /** Standard normal (Marsaglia's polar method). */
  normal(): number {
    if (this.#spareNormal !== null) {
      const spare = this.#spareNormal;
      this.#spareNormal = null;
      return spare;
    }
    for (;;) {
      const u = 2 * this.next() - 1;
      const v = 2 * this.next() - 1;
      const square = u * u + v * v;
      if (square >= 1 || square === 0) continue;
      const scale = Math.sqrt((-2 * Math.log(square)) / square);
      this.#spareNormal = v * scale;
      return u * scale;
    }
  }

  /** Shuffles in place (Fisher and Yates). */
  shuffle<T>(array: T[] | Int32Array): void {
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      const kept = array[i]!;
      array[i] = array[j]!;
      array[j] = kept;
    }
  }

  /** The state to keep in a checkpoint; `new Random(state)` goes on from here. */
  state(): RandomState {
    return { words: [...this.#words] as RandomState['words'], spareNormal: this.#spareNormal };
  }
}
