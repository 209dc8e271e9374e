// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

/// @title The four calls by which tools manage an app's allow-lists
/// @dev The ERC-165 id is made of exactly these four selectors.
interface IAppAuthBasicManagement is IERC165 {
    event ComposeHashAdded(bytes32 composeHash);
    event ComposeHashRemoved(bytes32 composeHash);
    event DeviceAdded(bytes32 deviceId);
    event DeviceRemoved(bytes32 deviceId);

    /// @param composeHash SHA-256 of a manifest that may boot from now on
    function addComposeHash(bytes32 composeHash) external;

    /// @param composeHash SHA-256 of a manifest that may no longer boot
    function removeComposeHash(bytes32 composeHash) external;

    /// @param deviceId platform on which the app may boot from now on
    function addDevice(bytes32 deviceId) external;

    /// @param deviceId platform on which the app may no longer boot; without effect while any device is allowed
    function removeDevice(bytes32 deviceId) external;
}
