// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

/// @title Decides whether a confidential VM may boot
/// @notice Asked by a key management service through its authorization webhook before it releases keys.
interface IAppAuth is IERC165 {
    /// @notice What a verified quote says about the VM that asks for keys.
    struct AppBootInfo {
        /// The app's contract; its 20 bytes are the app id that the VM measured.
        address appId;
        /// SHA-256 of the app's manifest.
        bytes32 composeHash;
        /// Names one VM of the app.
        address instanceId;
        /// SHA-256 of the platform's identity.
        bytes32 deviceId;
        /// All measurement registers in one value.
        bytes32 mrAggregated;
        /// Firmware, kernel, initrd and key provider in one value.
        bytes32 mrSystem;
        /// SHA-256 of the guest OS image's checksum file.
        bytes32 osImageHash;
        /// Intel's word on the platform's patch level, for example "UpToDate".
        string tcbStatus;
        /// Intel's security advisories that apply to the platform.
        string[] advisoryIds;
    }

    /// @param bootInfo the VM that wants to boot
    /// @return isAllowed whether it may
    /// @return reason why not; empty when it may
    function isAppAllowed(AppBootInfo calldata bootInfo) external view returns (bool isAllowed, string memory reason);
}
