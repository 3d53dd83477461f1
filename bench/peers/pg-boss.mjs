// pg-boss.
//
//   default    as it comes: one worker that looks every two seconds for one job
//   tuned      told of new jobs by the database, four workers that take a thousand at a time and go on while there are more

import { PgBoss } from 'pg-boss';
import pg from 'pg';
import { measure } from './measure.mjs';

const QUEUE = 'job';
const CONFIGURATIONS = {
    default: { boss: {}, queue: {}, work: {} },
    tuned: {
        boss: { useListenNotify: true },
        queue: { notify: true },
        work: { batchSize: 1000, localConcurrency: 4, burstWhenBatchFull: true },
    },
};

await measure(async (connectionString, configuration) => {
    const { boss: settings, queue, work } = CONFIGURATIONS[configuration];
    const boss = new PgBoss({ connectionString, max: 20, ...settings });
    boss.on('error', (error) => console.error(error.message));
    await boss.start();
    await boss.createQueue(QUEUE, queue);
    // What an earlier measurement was not given the time to run.
    await boss.deleteAllJobs(QUEUE);
    const unfinished = "select count(*)::int as left from pgboss.job where name = $1 and state < 'completed'";
    const looking = new pg.Pool({ connectionString, max: 1 });
    return {
        async start(handle) {
            await boss.work(QUEUE, work, async (jobs) => {
                for (const { data } of jobs) handle(data);
            });
        },
        add: (data) => boss.send(QUEUE, data),
        async addMany(count) {
            const job = { data: { name: 'zed', count: 7 } };
            for (let left = count; left > 0; left -= 1000) {
                await boss.insert(QUEUE, Array.from({ length: Math.min(1000, left) }, () => job));
            }
        },
        async left() {
            const { rows } = await looking.query(unfinished, [QUEUE]);
            return rows[0].left;
        },
        async stop() {
            await looking.end();
            await boss.stop({ graceful: false });
        },
    };
});
