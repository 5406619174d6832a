-- The marketplace. Each change of a market (one resource) locks its lane, which gives out places: so
-- places have no gaps, and none is seen before the one before it.
-- Offers, bids and trades are JSON; only what is searched has a column of its own.

CREATE TABLE market_lanes (
    resource text COLLATE "C" PRIMARY KEY,
    lane     text NOT NULL -- JSON
) WITH (fillfactor = 50);

INSERT INTO market_lanes
    SELECT unnest(ARRAY['bandwidth', 'cpu', 'gpu', 'memory', 'storage']), '{}';

CREATE TABLE market_offers (
    id         uuid     PRIMARY KEY,
    resource   text     NOT NULL,
    place      bigint   NOT NULL, -- within the resource
    node       text     NOT NULL,
    owner      text     NOT NULL,
    region     text     NOT NULL,
    state      text     NOT NULL,
    open       boolean  NOT NULL, -- while something is left for hire
    spot       boolean  NOT NULL,
    price      numeric(39, 0) NOT NULL,
    shortest   bigint   NOT NULL, -- microseconds
    longest    bigint   NOT NULL, -- microseconds
    sla        smallint NOT NULL, -- better ones are higher
    expires_at bigint   NOT NULL,
    offer      text     NOT NULL, -- JSON
    UNIQUE (resource, place)
);

CREATE INDEX market_offers_open ON market_offers (resource, spot, price, place) WHERE open;
CREATE INDEX market_offers_expiring ON market_offers (expires_at) WHERE state = 'open';
CREATE INDEX market_offers_node ON market_offers (node, resource, place) WHERE state = 'open';

CREATE TABLE market_bids (
    id         uuid     PRIMARY KEY,
    resource   text     NOT NULL,
    place      bigint   NOT NULL,
    payer      text     NOT NULL,
    region     text,              -- any, if none
    state      text     NOT NULL,
    max_price  numeric(39, 0) NOT NULL,
    duration   bigint   NOT NULL, -- microseconds
    sla        smallint NOT NULL,
    expires_at bigint   NOT NULL,
    bid        text     NOT NULL, -- JSON
    UNIQUE (resource, place)
);

CREATE INDEX market_bids_open ON market_bids (resource, max_price DESC, place) WHERE state = 'open';
CREATE INDEX market_bids_expiring ON market_bids (expires_at) WHERE state = 'open';
CREATE INDEX market_bids_payer ON market_bids (payer, resource, place);

-- Trades are never removed: they are the history of prices.
CREATE TABLE market_trades (
    id       uuid   PRIMARY KEY,
    resource text   NOT NULL,
    place    bigint NOT NULL,
    payer    text   NOT NULL,
    owner    text   NOT NULL,
    node     text   NOT NULL,
    region   text   NOT NULL,
    state    text   NOT NULL,
    at       bigint NOT NULL,
    due_at   bigint NOT NULL,
    trade    text   NOT NULL, -- JSON
    UNIQUE (resource, place)
);

CREATE INDEX market_trades_due ON market_trades (due_at) WHERE state = 'held';
CREATE INDEX market_trades_payer ON market_trades (payer, resource, place);
CREATE INDEX market_trades_owner ON market_trades (owner, resource, place);
CREATE INDEX market_trades_node ON market_trades (node, resource, place);
CREATE INDEX market_trades_region ON market_trades (resource, region, place);
