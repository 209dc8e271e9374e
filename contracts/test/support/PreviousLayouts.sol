// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";

/// @title An app's contract as deployed before the patch-level rule, as far as storage goes
/// @dev One-step ownership and a gap of fifty slots after the devices.
contract PreviousApp is OwnableUpgradeable, UUPSUpgradeable {
    mapping(bytes32 composeHash => bool) public allowedComposeHashes;
    bool private _upgradesDisabled;
    bool public allowAnyDevice;
    mapping(bytes32 deviceId => bool) public allowedDeviceIds;
    // forge-lint: disable-next-line(mixed-case-variable)
    uint256[50] private __gap;

    function initialize(address owner, bool disableUpgrades, bool anyDevice, bytes32 deviceId, bytes32 composeHash)
        external
        initializer
    {
        __Ownable_init(owner);
        _upgradesDisabled = disableUpgrades;
        allowAnyDevice = anyDevice;
        allowedDeviceIds[deviceId] = true;
        allowedComposeHashes[composeHash] = true;
    }

    function _authorizeUpgrade(address) internal view override onlyOwner {
        require(!_upgradesDisabled, "Upgrades are permanently disabled");
    }
}

/// @title The KMS's contract as deployed with one-step ownership, as far as storage goes
contract PreviousKms is OwnableUpgradeable, UUPSUpgradeable {
    struct KmsInfo {
        bytes k256Pubkey;
        bytes caPubkey;
        bytes quote;
        bytes eventlog;
    }

    KmsInfo public kmsInfo;
    string public gatewayAppId;
    mapping(address appId => bool) public registeredApps;
    mapping(bytes32 mrAggregated => bool) public kmsAllowedAggregatedMrs;
    mapping(bytes32 deviceId => bool) public kmsAllowedDeviceIds;
    mapping(bytes32 osImageHash => bool) public allowedOsImages;
    address public appImplementation;
    // forge-lint: disable-next-line(mixed-case-variable)
    uint256[50] private __gap;

    function initialize(address owner, address implementation) external initializer {
        __Ownable_init(owner);
        appImplementation = implementation;
    }

    function fill(
        KmsInfo calldata info,
        string calldata gateway,
        address app,
        bytes32 mr,
        bytes32 device,
        bytes32 image
    ) external onlyOwner {
        kmsInfo = info;
        gatewayAppId = gateway;
        registeredApps[app] = true;
        kmsAllowedAggregatedMrs[mr] = true;
        kmsAllowedDeviceIds[device] = true;
        allowedOsImages[image] = true;
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}
}
