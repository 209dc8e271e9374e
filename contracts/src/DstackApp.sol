// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Ownable2StepUpgradeable} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IAppAuth} from "./interfaces/IAppAuth.sol";
import {IAppAuthBasicManagement} from "./interfaces/IAppAuthBasicManagement.sol";
import {PolicyAudit} from "./PolicyAudit.sol";

/// @title Who may boot as one app
/// @notice The address of its proxy is the app's id. The owner says which manifests may boot and on which devices.
/// @dev The order of storage is that of deployed proxies: add at the end, out of the gap.
contract DstackApp is Ownable2StepUpgradeable, UUPSUpgradeable, ERC165, PolicyAudit, IAppAuth, IAppAuthBasicManagement {
    /// @notice SHA-256 of each manifest that may boot.
    mapping(bytes32 composeHash => bool) public allowedComposeHashes;

    bool private _upgradesDisabled;

    /// @notice Whether the list of devices is left out of the decision.
    bool public allowAnyDevice;

    /// @notice Each platform on which the app may boot.
    mapping(bytes32 deviceId => bool) public allowedDeviceIds;

    /// @notice Whether only platforms with all of Intel's patches may boot the app.
    bool public requireTcbUpToDate;

    // forge-lint: disable-next-line(mixed-case-variable)
    uint256[49] private __gap;

    bytes32 private constant COMPOSE_HASH = keccak256("compose-hash");
    bytes32 private constant DEVICE = keccak256("device");
    bytes32 private constant ALLOW_ANY_DEVICE = keccak256("allow-any-device");
    bytes32 private constant REQUIRE_TCB_UP_TO_DATE = keccak256("require-tcb-up-to-date");
    bytes32 private constant UPGRADES_DISABLED = keccak256("upgrades-disabled");
    bytes32 private constant UP_TO_DATE = keccak256("UpToDate");

    event UpgradesDisabled();
    event AllowAnyDeviceSet(bool allowAny);
    event RequireTcbUpToDateSet(bool requireUpToDate);

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// @notice Sets up a proxy as releases before the patch-level rule did.
    /// @param initialOwner who manages the app
    /// @param disableUpgrades_ whether the code is fixed for good
    /// @param allowAnyDevice_ whether every device may boot the app
    /// @param initialDeviceId a device to allow, or zero
    /// @param initialComposeHash a manifest to allow, or zero
    function initialize(
        address initialOwner,
        bool disableUpgrades_,
        bool allowAnyDevice_,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external initializer {
        _initialize(initialOwner, disableUpgrades_, false, allowAnyDevice_, initialDeviceId, initialComposeHash);
    }

    /// @notice Sets up a proxy.
    /// @param initialOwner who manages the app
    /// @param disableUpgrades_ whether the code is fixed for good
    /// @param requireTcbUpToDate_ whether only fully patched platforms may boot the app
    /// @param allowAnyDevice_ whether every device may boot the app
    /// @param initialDeviceId a device to allow, or zero
    /// @param initialComposeHash a manifest to allow, or zero
    function initialize(
        address initialOwner,
        bool disableUpgrades_,
        bool requireTcbUpToDate_,
        bool allowAnyDevice_,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external initializer {
        _initialize(
            initialOwner, disableUpgrades_, requireTcbUpToDate_, allowAnyDevice_, initialDeviceId, initialComposeHash
        );
    }

    function _initialize(
        address initialOwner,
        bool disableUpgrades_,
        bool requireTcbUpToDate_,
        bool allowAnyDevice_,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) private {
        require(initialOwner != address(0), "invalid owner address");
        __Ownable_init(initialOwner);
        _upgradesDisabled = disableUpgrades_;
        requireTcbUpToDate = requireTcbUpToDate_;
        allowAnyDevice = allowAnyDevice_;
        if (initialDeviceId != bytes32(0)) _setDevice(initialDeviceId, true);
        if (initialComposeHash != bytes32(0)) _setComposeHash(initialComposeHash, true);
    }

    /// @notice Version of this code's interface.
    function version() external pure returns (uint256) {
        return 2;
    }

    /// @inheritdoc IAppAuthBasicManagement
    function addComposeHash(bytes32 composeHash) external onlyOwner {
        _setComposeHash(composeHash, true);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function removeComposeHash(bytes32 composeHash) external onlyOwner {
        _setComposeHash(composeHash, false);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function addDevice(bytes32 deviceId) external onlyOwner {
        _setDevice(deviceId, true);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function removeDevice(bytes32 deviceId) external onlyOwner {
        _setDevice(deviceId, false);
    }

    /// @param allowAny whether the list of devices is left out of the decision
    function setAllowAnyDevice(bool allowAny) external onlyOwner {
        allowAnyDevice = allowAny;
        emit AllowAnyDeviceSet(allowAny);
        _audit(ALLOW_ANY_DEVICE, bytes32(0), allowAny);
    }

    /// @param requireUpToDate whether only fully patched platforms may boot the app
    function setRequireTcbUpToDate(bool requireUpToDate) external onlyOwner {
        requireTcbUpToDate = requireUpToDate;
        emit RequireTcbUpToDateSet(requireUpToDate);
        _audit(REQUIRE_TCB_UP_TO_DATE, bytes32(0), requireUpToDate);
    }

    /// @notice Fixes the code for good. Cannot be undone.
    function disableUpgrades() external onlyOwner {
        _upgradesDisabled = true;
        emit UpgradesDisabled();
        _audit(UPGRADES_DISABLED, bytes32(0), true);
    }

    /// @inheritdoc IAppAuth
    function isAppAllowed(AppBootInfo calldata bootInfo) external view returns (bool isAllowed, string memory reason) {
        if (requireTcbUpToDate && keccak256(bytes(bootInfo.tcbStatus)) != UP_TO_DATE) {
            return (false, "TCB status is not up to date");
        }
        if (!allowedComposeHashes[bootInfo.composeHash]) return (false, "Compose hash not allowed");
        if (!allowAnyDevice && !allowedDeviceIds[bootInfo.deviceId]) return (false, "Device not allowed");
        return (true, "");
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(ERC165, IERC165) returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || interfaceId == type(IAppAuthBasicManagement).interfaceId
            || super.supportsInterface(interfaceId);
    }

    function _setComposeHash(bytes32 composeHash, bool allowed) private {
        if (allowed) _requireValue(composeHash);
        allowedComposeHashes[composeHash] = allowed;
        if (allowed) emit ComposeHashAdded(composeHash);
        else emit ComposeHashRemoved(composeHash);
        _audit(COMPOSE_HASH, composeHash, allowed);
    }

    function _setDevice(bytes32 deviceId, bool allowed) private {
        if (allowed) _requireValue(deviceId);
        allowedDeviceIds[deviceId] = allowed;
        if (allowed) emit DeviceAdded(deviceId);
        else emit DeviceRemoved(deviceId);
        _audit(DEVICE, deviceId, allowed);
    }

    function _authorizeUpgrade(address newImplementation) internal override onlyOwner {
        require(!_upgradesDisabled, "Upgrades are permanently disabled");
        _audit(IMPLEMENTATION_UPGRADE, newImplementation);
    }
}
