//! pgledger, a ledger in SQL functions: single transfers of 64 clients at once, each on a connection
//! of its own, on a server of this run's own, as fogcore's `postgres.clients64`.
//!
//! `FOGCORE_PGLEDGER` names its SQL files, in their order and separated as in `PATH`; without them
//! there is nothing to measure.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a benchmark tells and stops")]

use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use fogcore_dev_postgres::Server;
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

const CLIENTS: usize = 64;
const EACH: u32 = 32;

/// Makes 10,000 accounts, and tells their ids.
async fn accounts(connection: &mut PgConnection) -> Vec<String> {
    let make = "SELECT (pgledger_create_account('account-' || n, 'FOG')).id
         FROM generate_series(1, 10000) AS n";
    let rows = connection.fetch_all(make).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn clients(connections: &mut [PgConnection], accounts: &[String], round: u64) -> Duration {
    let begun = Instant::now();
    let work = connections.iter_mut().enumerate().map(async |(client, connection)| {
        let mut dice = fastrand::Rng::with_seed(round * CLIENTS as u64 + client as u64);
        for _ in 0..EACH {
            let from = dice.usize(..accounts.len());
            let to = (from + 1 + dice.usize(..accounts.len() - 1)) % accounts.len();
            sqlx::query("SELECT id FROM pgledger_create_transfer($1, $2, '1')")
                .bind(&accounts[from])
                .bind(&accounts[to])
                .fetch_one(&mut *connection)
                .await
                .unwrap();
        }
    });
    join_all(work).await;
    begun.elapsed()
}

fn pgledger(criterion: &mut Criterion) {
    let Some(files) = std::env::var_os("FOGCORE_PGLEDGER") else {
        eprintln!("not measured: pgledger, because FOGCORE_PGLEDGER names no SQL files of it");
        return;
    };
    let server = match Server::start() {
        Ok(server) => server,
        Err(error) => return eprintln!("not measured: pgledger, because {error:#}"),
    };
    let url = server.url("postgres");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (accounts, mut connections) = runtime.block_on(async {
        let connect = join_all((0..CLIENTS).map(|_| PgConnection::connect(&url))).await;
        let mut connections = connect.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        for file in std::env::split_paths(&files) {
            let sql = AssertSqlSafe(std::fs::read_to_string(file).unwrap());
            connections[0].execute(sqlx::raw_sql(sql)).await.unwrap();
        }
        (accounts(&mut connections[0]).await, connections)
    });
    let mut group = criterion.benchmark_group("ledger");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Elements(CLIENTS as u64 * u64::from(EACH)));
    let mut round = 0;
    group.bench_function(BenchmarkId::new("pgledger.clients64", "transfers/s"), |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    round += 1;
                    runtime.block_on(clients(&mut connections, &accounts, round))
                })
                .sum()
        });
    });
    group.finish();
}

criterion_group!(benches, pgledger);
criterion_main!(benches);
