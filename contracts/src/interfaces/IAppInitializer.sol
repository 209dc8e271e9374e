// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title The initializer of an app as the factory calls it
/// @dev Apart from the app's contract, since the name is overloaded there.
interface IAppInitializer {
    /// @param initialOwner who manages the app
    /// @param disableUpgrades whether the code is fixed for good
    /// @param requireTcbUpToDate whether only fully patched platforms may boot the app
    /// @param allowAnyDevice whether every device may boot the app
    /// @param initialDeviceId a device to allow, or zero
    /// @param initialComposeHash a manifest to allow, or zero
    function initialize(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external;
}
