// `draftalign setup`: native TensorFlow now rather than at the first command that needs it (for images and job scripts).
import type { CommandModule } from 'yargs';
import { ensureKernels } from '../tensorflow/kernels.js';
import { ensureTensorflow } from '../tensorflow/setup.js';

export const setupCommand: CommandModule = {
  command: 'setup',
  describe: 'Set native TensorFlow up now (other commands do it at first use)',
  builder: (yargs) =>
    yargs.epilogue(
      'The libraries come from the Python wheel by pip: the CPU one, or the CUDA 12 one where an NVIDIA driver is loaded.\n' +
        'DRAFTALIGN_TENSORFLOW=cpu|cuda chooses otherwise; DRAFTALIGN_CACHE moves the cache folder.',
    ),
  handler: async () => {
    const installation = await ensureTensorflow();
    if (installation.variant !== 'cuda') await ensureKernels(installation, (line) => console.error(line));
    console.log(`${installation.source}\n${installation.folder}`);
  },
};
