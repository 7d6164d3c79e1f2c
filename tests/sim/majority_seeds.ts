/** Of the worlds that once broke a promise: those of many voters, or of several volumes in a group. */

import { type KnownWorld, weights } from "./known_world.ts";

/** See the module comment. */
export const MAJORITY_WORLDS: readonly KnownWorld[] = [
  {
    found: "checker: what a voter had accepted before its state was lost was called not chosen",
    options: {
      seed: 7000793,
      duration: 600000,
      deadtime: 8000,
      runners: 3,
      witnesses: 3,
      blocks: 1100,
      volatileCache: false,
      drift: 0.1,
      faultInterval: 8000,
      ambush: 0.2,
      clients: 1,
      depth: 2,
      think: 400,
      hotBlocks: 16,
      weights: weights({
        kill: 0.9558402456343174,
        fuse: 0.48193934448063375,
        stopAll: 0.14862790033221243,
        pairCut: 0.6495012076571585,
        split: 0.8709626505151391,
        oneWay: 0.6192299421876669,
        linkCut: 0.7237288247793914,
        replicationCut: 0.8297559866681696,
        sessionReset: 0.2591751063242555,
        weather: 0.5032709328457714,
        linkWeather: 0.2104307308793068,
        pauseMain: 0.9991953458637,
        freeze: 0.2744719145819545,
        standby: 0.358974807523191,
        configure: 0.3638753812760115,
        serviceFails: 0.7201363280415536,
        voterLoss: 0.10759600963443518,
        diskLoss: 0.18177022123709322,
        heal: 0.753052894026041,
      }),
    },
  },
];
