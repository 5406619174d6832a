-- The marketplace. Each change of a market (one resource) changes its lane, which gives out places.
-- Offers, bids and trades are JSON; only what is searched has a column of its own.

CREATE TABLE market_lanes (
    resource TEXT NOT NULL PRIMARY KEY,
    lane     TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE market_offers (
    id         BLOB    NOT NULL PRIMARY KEY,
    resource   TEXT    NOT NULL,
    place      INTEGER NOT NULL, -- within the resource, without gaps
    node       TEXT    NOT NULL,
    owner      TEXT    NOT NULL,
    region     TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    open       INTEGER NOT NULL, -- 1 while something is left for hire
    spot       INTEGER NOT NULL,
    price      BLOB    NOT NULL,
    shortest   INTEGER NOT NULL, -- microseconds
    longest    INTEGER NOT NULL, -- microseconds
    sla        INTEGER NOT NULL, -- better ones are higher
    expires_at INTEGER NOT NULL,
    offer      TEXT    NOT NULL, -- JSON
    UNIQUE (resource, place)
) STRICT;

CREATE INDEX market_offers_open ON market_offers (resource, spot, price, place) WHERE open = 1;
CREATE INDEX market_offers_expiring ON market_offers (expires_at) WHERE state = 'open';
CREATE INDEX market_offers_node ON market_offers (node, resource, place) WHERE state = 'open';

CREATE TABLE market_bids (
    id         BLOB    NOT NULL PRIMARY KEY,
    resource   TEXT    NOT NULL,
    place      INTEGER NOT NULL,
    payer      TEXT    NOT NULL,
    region     TEXT,             -- any, if none
    state      TEXT    NOT NULL,
    max_price  BLOB    NOT NULL,
    duration   INTEGER NOT NULL, -- microseconds
    sla        INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    bid        TEXT    NOT NULL, -- JSON
    UNIQUE (resource, place)
) STRICT;

CREATE INDEX market_bids_open ON market_bids (resource, max_price DESC, place) WHERE state = 'open';
CREATE INDEX market_bids_expiring ON market_bids (expires_at) WHERE state = 'open';
CREATE INDEX market_bids_payer ON market_bids (payer, resource, place);

-- Trades are never removed: they are the history of prices.
CREATE TABLE market_trades (
    id       BLOB    NOT NULL PRIMARY KEY,
    resource TEXT    NOT NULL,
    place    INTEGER NOT NULL,
    payer    TEXT    NOT NULL,
    owner    TEXT    NOT NULL,
    node     TEXT    NOT NULL,
    region   TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    trade    TEXT    NOT NULL, -- JSON
    UNIQUE (resource, place)
) STRICT;

CREATE INDEX market_trades_due ON market_trades (due_at) WHERE state = 'held';
CREATE INDEX market_trades_payer ON market_trades (payer, resource, place);
CREATE INDEX market_trades_owner ON market_trades (owner, resource, place);
CREATE INDEX market_trades_node ON market_trades (node, resource, place);
CREATE INDEX market_trades_region ON market_trades (resource, region, place);
