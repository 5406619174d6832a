package io.fogcore

import java.math.BigInteger
import kotlin.time.Duration
import kotlin.time.Duration.Companion.microseconds

/** A node: 1–128 visible characters. Read by the core when it is used. */
@JvmInline
public value class NodeId(public val text: String) {
    override fun toString(): String = text
}

/** An account of the ledger: 1–128 visible characters. */
@JvmInline
public value class AccountId(public val text: String) {
    override fun toString(): String = text
}

/** What a task is about: 1–64 visible characters. */
@JvmInline
public value class TaskKind(public val text: String) {
    override fun toString(): String = text
}

/** A client's own name for a submission, unique per payer: 1–256 visible characters. */
@JvmInline
public value class IdempotencyKey(public val text: String) {
    override fun toString(): String = text
}

/** Somebody who meets others in a session: 1–128 visible characters. */
@JvmInline
public value class PeerId(public val text: String) {
    override fun toString(): String = text
}

/** A part of a game's world: 1–128 visible characters. */
@JvmInline
public value class ZoneId(public val text: String) {
    override fun toString(): String = text
}

/** A session of players: 1–128 visible characters. */
@JvmInline
public value class SessionId(public val text: String) {
    override fun toString(): String = text
}

/** A task: a UUID, made by the fog. */
@JvmInline
public value class TaskId(public val text: String) {
    override fun toString(): String = text
}

/** A transfer: a UUID, made by the client ([Fog.newTransferId]). */
@JvmInline
public value class TransferId(public val text: String) {
    override fun toString(): String = text
}

/** A trade on the marketplace: a UUID. */
@JvmInline
public value class TradeId(public val text: String) {
    override fun toString(): String = text
}

/**
 * What an account counts: the code of a known asset, or `CODE:DECIMALS` for one of your own.
 */
@JvmInline
public value class Asset(public val text: String) {
    override fun toString(): String = text

    /**
     * Reads an amount from a decimal text, such as `"2.5"`.
     *
     * @throws FogException.InvalidInput for what is no number, has too many decimals or is too large
     */
    public fun amount(text: String): Amount = parseAmount(this, text)

    public companion object {
        /** The fog's own token, with 18 decimals. */
        public val FOG: Asset = Asset("FOG")
    }
}

/** An exact amount in base units of its asset, 0 to 2^128 − 1. No float ever touches it. */
@JvmInline
public value class Amount(public val units: BigInteger) : Comparable<Amount> {
    /** Both together. */
    public operator fun plus(other: Amount): Amount = Amount(units + other.units)

    /** What is left; below zero, the core refuses it. */
    public operator fun minus(other: Amount): Amount = Amount(units - other.units)

    /** So many times as much. */
    public operator fun times(count: Int): Amount = Amount(units * count.toBigInteger())

    override fun compareTo(other: Amount): Int = units.compareTo(other.units)

    /** For people, in [asset]: `2.5 FOG`. */
    public fun format(asset: Asset = Asset.FOG): String = formatAmount(asset, this)

    override fun toString(): String = units.toString()

    public companion object {
        /** Nothing. */
        public val ZERO: Amount = Amount(BigInteger.ZERO)

        /** An amount of so many base units, in digits. */
        public fun ofUnits(text: String): Amount = Amount(BigInteger(text))

        /** An amount of so many base units. */
        public fun ofUnits(units: Long): Amount = Amount(units.toBigInteger())
    }
}

/** A length of time as it crosses the boundary; a negative one is none. */
internal fun Duration.toFogMicros(): ULong = inWholeMicroseconds.coerceAtLeast(0).toULong()

/** A length of time that crossed the boundary. */
internal fun ULong.toFogDuration(): Duration =
    coerceAtMost(Long.MAX_VALUE.toULong()).toLong().microseconds
