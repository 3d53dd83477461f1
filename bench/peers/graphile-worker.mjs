// graphile-worker.
//
//   default    as it comes, but for ten jobs at once instead of one, and the pool that it advises for so many
//   batching   as its documentation advises for many quick jobs: a local queue of 500, ends written together, 24 at once

import { makeWorkerUtils, run, Logger } from 'graphile-worker';
import pg from 'pg';
import { measure } from './measure.mjs';

const CONFIGURATIONS = {
    default: { concurrentJobs: 10, maxPoolSize: 12 },
    batching: {
        concurrentJobs: 24,
        maxPoolSize: 26,
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
    },
};

// A thousand lines a second would be what is measured.
const logger = new Logger(() => (level, message) => {
    if (level === 'error') console.error(message);
});

await measure(async (connectionString, configuration) => {
    // Callers have a pool of their own, as they would in another process.
    const adding = new pg.Pool({ connectionString, max: 20 });
    const utils = await makeWorkerUtils({ pgPool: adding, logger });
    await utils.migrate();
    // What an earlier measurement was not given the time to run.
    await adding.query('delete from graphile_worker._private_jobs');
    let runner;
    return {
        async start(handle) {
            const preset = { worker: { connectionString, ...CONFIGURATIONS[configuration] } };
            runner = await run({ preset, logger, noHandleSignals: true, taskList: { job: async (data) => handle(data) } });
        },
        add: (data) => utils.addJob('job', data),
        async addMany(count) {
            const body = JSON.stringify({ name: 'zed', count: 7 });
            const sql = "select graphile_worker.add_job('job', $1::json) from generate_series(1, $2::int)";
            await adding.query(sql, [body, count]);
        },
        async left() {
            const { rows } = await adding.query('select count(*)::int as left from graphile_worker._private_jobs');
            return rows[0].left;
        },
        async stop() {
            await runner.stop();
            await utils.release();
            await adding.end();
        },
    };
});
