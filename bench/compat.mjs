// What @rbee/compat does with a large catalogue, in Node, in milliseconds of processor time:
// node bench/compat.mjs PACKAGE [MODELS]
//
// PACKAGE is the folder that packages/compat/build made. The models are made up by tools/hub-fixture, as the Hub lists
// them: no sizes of files, tags, siblings, what the header says of GGUF. Best, median and worst of nine runs.
import { execFileSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [dir, count = '40000'] = process.argv.slice(2);
if (!dir) {
    console.error('usage: node bench/compat.mjs PACKAGE [MODELS]');
    process.exit(64);
}
const compat = await import(pathToFileURL(join(resolve(dir), 'dist/index.js')).href);
const show = (name, ms, goal = '') =>
    console.log(`${name.padEnd(58)} ${ms.map((x) => x.toFixed(2).padStart(9)).join('')}${goal && `   goal: below ${goal}`}`);

/** Milliseconds of processor time so far, of all threads. */
function now() {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
}

function bench(name, fn, { runs = 9, goal, each = 1 } = {}) {
    const ms = [];
    let result;
    for (let i = 0; i < runs; i++) {
        const from = now();
        result = fn(i);
        ms.push((now() - from) / each);
    }
    ms.sort((a, b) => a - b);
    show(name, [ms[0], ms[ms.length >> 1], ms.at(-1)], goal);
    return result;
}

const lines = execFileSync(join(root, 'tools/hub-fixture'), [count, '--lines'], { encoding: 'utf8', maxBuffer: 2 ** 31 - 1 });
const models = lines.trim().split('\n').map((line) => JSON.parse(line));
console.log(`${models.length} models, ${(lines.length / 1e6).toFixed(1)} MB as the Hub lists them; Node ${process.version}; milliseconds of processor time`);
console.log(`${''.padEnd(58)} ${['best', 'median', 'worst'].map((x) => x.padStart(9)).join('')}`);

const from = now();
await compat.init();
show('init(), the module compiled', Array(3).fill(now() - from));
const machine = { name: 'laptop', memory: 16 * 2 ** 30, bandwidth: 40e9, compute: 5e11 };
const more = [machine, { name: 'tower', memory: 64 * 2 ** 30, bandwidth: 80e9 }, { name: 'pi', memory: 8 * 2 ** 30, bandwidth: 1e10 }];
bench('isModelCompatible(), a call', () => { for (const m of models.slice(0, 200)) compat.isModelCompatible(m); }, { each: 200 });
bench('filterCompatibleModels(), all', () => compat.filterCompatibleModels(models), { runs: 3 });

const catalog = bench('load(), all', () => {
    const c = new compat.Catalog();
    c.load(lines);
    return c;
}, { runs: 1 });
// Another configuration each time, so that nothing is known before.
bench('judge(), all, one machine', (i) => catalog.judge([machine], { context: 4096 + i }), { goal: '50' });
bench('judge(), all, three machines', (i) => catalog.judge(more, { context: 4096 + i }));
catalog.judge([machine]);
for (const query of ['', 'q=qwen instruct', 'size=4-9B&quant=Q4_K_M&sort=speed', 'architecture=llama,qwen3&licence=apache-2.0',
    'capability=tools&max_memory=8GiB&sort=updated', 'all=1&sort=name', 'q=nothing-of-this-name'])
    bench(`find() and facets(): ${query || 'everything'}`, () => [catalog.find(query), catalog.facets(query)], { goal: '10' });
console.log(`the module holds ${(compat.memoryBytes() / 2 ** 20).toFixed(0)} MiB`);
