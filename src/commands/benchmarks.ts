// Published benchmarks by name: where their prompts lie on the Hugging Face hub.

export interface Benchmark {
  /** The dataset's repository. */
  dataset: string;
  /** The file in it. */
  file: RegExp;
}

/** Known names. Spec-Bench and LiveCodeBench are not here: the one is not on the hub, the other's file takes more than a gigabyte. */
export const benchmarks: Readonly<Record<string, Benchmark>> = {
  gsm8k: { dataset: 'openai/gsm8k', file: /^main\/test-.*\.parquet$/ },
  'math-500': { dataset: 'HuggingFaceH4/MATH-500', file: /^test\.jsonl$/ },
  humaneval: { dataset: 'openai/openai_humaneval', file: /^openai_humaneval\/test-.*\.parquet$/ },
  mbpp: { dataset: 'google-research-datasets/mbpp', file: /^full\/test-.*\.parquet$/ },
  'mt-bench': { dataset: 'HuggingFaceH4/mt_bench_prompts', file: /^(raw\/question\.jsonl|data\/train-.*\.parquet)$/ },
  aime24: { dataset: 'HuggingFaceH4/aime_2024', file: /^data\/train-.*\.parquet$/ },
  alpaca: { dataset: 'tatsu-lab/alpaca', file: /^data\/train-.*\.parquet$/ },
};
