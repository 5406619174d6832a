//! Tokens and the marketplace.

use serde_json::{Value, json};

use crate::common::{Asker, start};

async fn balance(asker: &Asker<'_>) -> Value {
    asker.get("/api/fog/tokens").await.ok()["user_balance"].clone()
}

#[tokio::test]
async fn tokens_are_minted_moved_and_staked_exactly() {
    let running = start().await;
    let admin = running.admin().await;
    let ((ada, adas), (bob, bobs)) = (running.user("ada").await, running.user("bob").await);
    let mint = json!({"account_id": adas, "amount": "2000.000000000000000001"});
    assert_eq!(ada.post("/api/fog/tokens/mint", mint.clone()).await.status, 403);
    admin.post("/api/fog/tokens/mint", mint).await.ok();

    let id = "0192f0a0-0000-7000-8000-000000000001";
    let pay = json!({"tx_id": id, "to": bobs, "amount": "0.000000000000000001"});
    assert_eq!(
        ada.post("/api/fog/tokens/transfer", pay.clone()).await.status,
        404,
        "no account yet"
    );
    admin.post("/api/fog/tokens/mint", json!({"account_id": bobs, "amount": "1"})).await.ok();
    // An id that failed has failed for good.
    assert_eq!(ada.post("/api/fog/tokens/transfer", pay.clone()).await.status, 409);
    let mut pay = pay;
    pay["tx_id"] = json!("0192f0a0-0000-7000-8000-000000000002");
    for _ in 0..2 {
        let done = ada.post("/api/fog/tokens/transfer", pay.clone()).await.ok();
        assert_eq!(done["amount_exact"], "0.000000000000000001");
    }
    assert_eq!(balance(&bob).await["balance_exact"], "1.000000000000000001", "once");
    let theft = json!({"from": adas, "to": bobs, "amount": "1"});
    assert_eq!(bob.post("/api/fog/tokens/transfer", theft).await.status, 403);
    assert_eq!(bob.get(&format!("/api/fog/tokens?account_id={adas}")).await.status, 403);

    let few = ada.post("/api/fog/tokens/stake", json!({"amount": "1"})).await;
    assert_eq!(few.status, 422, "below the least stake");
    let staked = ada.post("/api/fog/tokens/stake", json!({"amount": 1500})).await.ok();
    assert_eq!(staked["staked_exact"], "1500.000000000000000000");
    let left = ada.post("/api/fog/tokens/unstake", json!({"amount": "500"})).await.ok();
    assert_eq!(left["unbonding_exact"], "500.000000000000000000");
    assert_eq!(ada.post("/api/fog/tokens/withdraw", json!({})).await.status, 409, "too early");
    let all = balance(&ada).await;
    assert_eq!(all["total_balance_exact"], "2000.000000000000000000");
    assert_eq!(all["locked_balance_exact"], "500.000000000000000000");
    let tokens = ada.get("/api/fog/tokens").await.ok();
    assert_eq!(tokens["network_stats"]["total_staked_exact"], "1000.000000000000000000");
    assert_eq!(tokens["token_info"]["current_supply_exact"], "2001.000000000000000001");
    let recent = tokens["recent_transactions"].as_array().unwrap();
    let told: Vec<_> = recent.iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(told, ["stake", "transfer", "mint"], "the newest first");
}

#[tokio::test]
async fn rewards_come_from_their_account_and_once() {
    let running = start().await;
    let admin = running.admin().await;
    let (bob, bobs) = running.user("bob").await;
    let id = "0192f0a0-0000-7000-8000-000000000003";
    let reward = json!({"tx_id": id, "account_id": bobs, "amount": "5"});
    assert_eq!(bob.post("/api/fog/tokens/rewards", reward.clone()).await.status, 403);
    assert_eq!(
        admin.post("/api/fog/tokens/rewards", reward.clone()).await.status,
        409,
        "it is empty"
    );
    let fund = json!({"account_id": "fog:rewards", "amount": "100"});
    admin.post("/api/fog/tokens/mint", fund).await.ok();
    for _ in 0..2 {
        admin.post("/api/fog/tokens/rewards", reward.clone()).await.ok();
    }
    assert_eq!(balance(&bob).await["balance_exact"], "5.000000000000000000");
}

#[tokio::test]
async fn money_is_read_from_its_text() {
    let running = start().await;
    let admin = running.admin().await;
    for (amount, status) in [
        (json!(0.1), 201),
        (json!("1e-18"), 201),
        (json!("1e-19"), 422),
        (json!(-1), 422),
        (json!("NaN"), 422),
        (json!(""), 422),
        (json!(null), 422),
        (json!({}), 422),
        (json!("10000000001"), 409),
        (json!("9".repeat(200)), 422),
    ] {
        let mint = json!({"account_id": "someone", "amount": amount});
        let answer = admin.post("/api/fog/tokens/mint", mint).await;
        assert_eq!(answer.status, status, "{amount}: {answer:?}");
    }
    let held = admin.get("/api/fog/tokens?account_id=someone").await.ok();
    assert_eq!(held["user_balance"]["balance_exact"], "0.100000000000000001");
}

#[tokio::test]
async fn an_offer_and_a_bid_become_a_trade_that_is_settled() {
    let running = start().await;
    let admin = running.admin().await;
    let ((ada, adas), (bob, bobs)) = (running.user("ada").await, running.user("bob").await);
    admin.post("/api/fog/tokens/mint", json!({"account_id": adas, "amount": "10"})).await.ok();
    bob.post("/api/fog/nodes", json!({"node_id": "laptop"})).await.ok();
    let offer = json!({
        "node_id": "laptop", "resource": "cpu", "amount_milli": 8000, "price_per_hour": "0.5",
    });
    assert_eq!(
        ada.post("/api/fog/marketplace/offers", offer.clone()).await.status,
        403,
        "not her node"
    );
    let placed = bob.post("/api/fog/marketplace/offers", offer).await.ok();
    assert_eq!(placed["offer"]["owner"], bobs.as_str());
    let bid = json!({
        "resource": "cpu", "amount_milli": 2000, "max_price_per_hour": 0.6, "duration_seconds": 10_800,
    });
    let bid = ada.post("/api/fog/marketplace/bids", bid).await.ok();
    let trade = &bid["trades"][0];
    assert_eq!(
        (&bid["bid"]["state"], &trade["cost_exact"]),
        (&json!("filled"), &json!("3.000000000000000000"))
    );

    let market = ada.get("/api/fog/marketplace").await.ok();
    assert_eq!(
        market["marketplace_stats"],
        json!({
            "total_offerings": 1, "active_contracts": 1, "avg_price_per_hour": 0.5, "total_providers": 1,
        })
    );
    assert_eq!(market["services"][0]["left_milli"], 6000);
    assert_eq!(market["demand_metrics"]["cpu"]["supply"], 6.0);

    let path = format!("/api/fog/marketplace/trades/{}", trade["trade_id"].as_str().unwrap());
    let settle = json!({"paid": "2.5"});
    assert_eq!(
        bob.post(&format!("{path}/settle"), settle.clone()).await.status,
        403,
        "he does not pay"
    );
    assert_eq!(ada.post(&format!("{path}/void"), json!({})).await.status, 403, "she is not paid");
    let settled = ada.post(&format!("{path}/settle"), settle).await.ok();
    assert_eq!(
        (&settled["state"], &settled["paid_exact"]),
        (&json!("settled"), &json!("2.500000000000000000"))
    );
    assert_eq!(bob.post(&format!("{path}/void"), json!({})).await.status, 409);
    assert_eq!(balance(&ada).await["balance_exact"], "7.500000000000000000");
    let trades = ada.get("/api/fog/marketplace/trades?resource=cpu").await.ok();
    assert_eq!(trades["trades"].as_array().unwrap().len(), 1);
    let others = bob.get("/api/fog/marketplace/trades?resource=cpu").await.ok();
    assert_eq!(others["trades"], json!([]));
    let offer =
        format!("/api/fog/marketplace/offers/{}", placed["offer"]["offer_id"].as_str().unwrap());
    assert_eq!(ada.delete(&offer).await.status, 403);
    assert_eq!(bob.delete(&offer).await.ok()["state"], "cancelled");
    let open = ada.get("/api/fog/marketplace/offers?resource=cpu").await.ok();
    assert_eq!(open["offers"], json!([]));
}

#[tokio::test]
async fn an_empty_fog_has_no_numbers() {
    let running = start().await;
    let local = running.anybody();
    let tokens = local.get("/api/fog/tokens").await.ok();
    assert_eq!(tokens["user_balance"]["account_id"], "local");
    assert_eq!(tokens["user_balance"]["created_at"], json!(null));
    assert_eq!(tokens["recent_transactions"], json!([]));
    let peers = local.get("/api/p2p/peers").await.ok();
    assert_eq!(peers["mesh_stats"]["connectivity_ratio"], 0.0);
    let status = local.get("/api/p2p/status").await.ok();
    assert_eq!(
        (&status["bitchat"]["connected"], &status["betanet"]["mixnodes"]),
        (&json!(false), &json!([]))
    );
    let resources = local.get("/api/fog/resources").await.ok();
    assert_eq!(resources["harvesting"]["idle_capacity_percent"], 0.0);
}
