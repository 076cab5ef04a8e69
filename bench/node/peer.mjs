// peer: llama.cpp's speed on one model, through the npm package node-llama-cpp; prints one line of JSON.
//
//   node peer.mjs MODEL --threads N --prompt P --gen G --reps R
//
// Every repetition uses fresh random tokens. Prefill: P tokens evaluated without sampling. Decode: G
// tokens generated greedily, one after the other, timed from the second.
import {performance} from "node:perf_hooks";
import {getLlama} from "node-llama-cpp";

function option(name, dflt) {
    const at = process.argv.indexOf(name);
    return at < 0 ? dflt : Number(process.argv[at + 1]);
}

function median(values) {
    const v = [...values].sort((a, b) => a - b);
    return v.length % 2 ? v[(v.length - 1) / 2] : (v[v.length / 2 - 1] + v[v.length / 2]) / 2;
}

const modelPath = process.argv[2];
const threads = option("--threads", 2), prompt = option("--prompt", 512);
const gen = option("--gen", 64), reps = option("--reps", 3);

const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: "error", maxThreads: threads});
const loadStart = performance.now();
const model = await llama.loadModel({modelPath, useMmap: true, gpuLayers: 0});
const loadMs = performance.now() - loadStart;
const context = await model.createContext({
    contextSize: Math.max(prompt, gen + 1) + 64, batchSize: 512, sequences: 1, threads: {ideal: threads, min: threads},
});
const sequence = context.getSequence();
// node-llama-cpp does not say how many ids there are beyond this; low ids exist in every vocabulary.
const vocab = 500;
let noise = 12345;
const randomToken = () => {
    noise = (noise * 1103515245 + 12345) % 2147483648;
    return 3 + (noise % (vocab - 3));
};

async function prefill(n) {
    await sequence.clearHistory();
    const tokens = Array.from({length: n}, randomToken);
    const start = performance.now();
    await sequence.evaluateWithoutGeneratingNewTokens(tokens);
    return n / (performance.now() - start) * 1000;
}

async function decode(n) {
    await sequence.clearHistory();
    let made = 0, start = 0;
    for await (const _ of sequence.evaluate([randomToken()], {temperature: 0, yieldEogToken: true})) {
        if (made++ === 0) start = performance.now();
        if (made === n + 1) break;
    }
    return n / (performance.now() - start) * 1000;
}

await prefill(16);
await decode(4);
const pre = [], dec = [];
for (let i = 0; i < reps; i++) {
    if (prompt) pre.push(await prefill(prompt));
    if (gen) dec.push(await decode(gen));
}
console.log(JSON.stringify({
    prefill_tokens_per_second: prompt ? median(pre) : 0, decode_tokens_per_second: gen ? median(dec) : 0,
    load_ms: loadMs, rss_bytes: process.memoryUsage.rss(),
}));
process.exit(0);
