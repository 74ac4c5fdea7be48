// `draftalign push`: an exported drafter goes to the Hugging Face hub, where engines load it by its id.
import type { CommandModule } from 'yargs';
import { uploadDrafter } from '../models/hub-upload.js';

interface PushArguments {
  folder: string;
  repository: string;
  private: boolean;
  branch: string;
  message?: string;
}

export const pushCommand: CommandModule<object, PushArguments> = {
  command: 'push <folder> <repository>',
  describe: 'Upload an exported drafter to the Hugging Face hub',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 push DIR ORG/NAME\n\nUploads all files of a folder that `draftalign export` wrote, in one commit; the repository is made where there is none.\n' +
          'HF_TOKEN holds the token, HF_ENDPOINT names another hub. Weights or a config that were changed since the export are refused.',
      )
      .positional('folder', { type: 'string', demandOption: true, describe: 'Exported folder' })
      .positional('repository', { type: 'string', demandOption: true, describe: 'Its id on the hub' })
      .option('private', { type: 'boolean', default: false, describe: 'Make a new repository private' })
      .option('branch', { type: 'string', default: 'main', requiresArg: true, describe: 'Branch to commit to' })
      .option('message', { type: 'string', requiresArg: true, describe: "The commit's title" })
      .example('$0 push drafter me/my-drafter', 'then: vllm serve … --speculative-config with "model": "me/my-drafter"'),
  handler: async (argv) => {
    const { url } = await uploadDrafter({ ...argv, say: (line) => console.error(line) });
    console.log(`uploaded: ${url}`);
  },
};
