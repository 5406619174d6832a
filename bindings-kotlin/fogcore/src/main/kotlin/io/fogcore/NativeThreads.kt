package io.fogcore

import com.sun.jna.Callback
import com.sun.jna.CallbackThreadInitializer
import com.sun.jna.Native

/**
 * The library's own threads, as the JVM sees them.
 *
 * A thread that is not the JVM's has to be attached before it can run Kotlin. By default JNA attaches
 * and detaches it for each callback, which costs more than the callback. Here the library's threads
 * stay attached, as daemons with a name, until they end.
 */
internal object NativeThreads {
    private object StayAttached : CallbackThreadInitializer(true, false) {
        override fun getName(callback: Callback?): String = "fogcore"
    }

    init {
        uniffiEnsureInitialized()
        val callbacks: List<Callback> = listOf(
            uniffiRustFutureContinuationCallbackImpl,
            uniffiCallbackInterfaceForeignExecutor.`execute`,
            uniffiCallbackInterfaceForeignExecutor.uniffiFree,
            uniffiCallbackInterfaceForeignListener.`onEvents`,
            uniffiCallbackInterfaceForeignListener.uniffiFree,
            uniffiCallbackInterfaceForeignProbe.`probe`,
            uniffiCallbackInterfaceForeignProbe.uniffiFree,
            uniffiCallbackInterfaceForeignScaleHook.`scale`,
            uniffiCallbackInterfaceForeignScaleHook.uniffiFree,
            uniffiForeignFutureDroppedCallbackImpl,
        )
        callbacks.forEach { Native.setCallbackThreadInitializer(it, StayAttached) }
    }

    /** Loads the library, if that was not done yet. */
    fun ready() = Unit
}
