// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DstackApp} from "../src/DstackApp.sol";
import {DstackKms} from "../src/DstackKms.sol";
import {IAppAuth} from "../src/interfaces/IAppAuth.sol";
import {TestBase} from "./support/TestBase.sol";
import {IVm} from "./support/IVm.sol";

/// @dev Does random things as random people, and keeps a book of what the events say.
contract Operators is TestBase {
    DstackKms public immutable KMS;
    DstackApp public immutable APP;
    mapping(bytes32 policy => mapping(bytes32 value => bool)) public book;
    bool public locked;

    constructor(DstackKms kms, DstackApp app) {
        KMS = kms;
        APP = app;
    }

    function actAsOwner(uint8 what, uint8 value) external {
        act(OWNER, what, bytes32(uint256(value % 4)));
    }

    function actAsOther(address caller, uint8 what, uint8 value) external {
        VM.assume(caller != OWNER);
        VM.recordLogs();
        VM.prank(caller);
        check(!callEither(what, bytes32(uint256(value % 4))), "an outsider got through");
        check(VM.getRecordedLogs().length == 0, "a refused call left an event");
    }

    function act(address caller, uint8 what, bytes32 value) private {
        VM.recordLogs();
        VM.prank(caller);
        if (callEither(what, value) && what % 14 == 13) locked = true;
        IVm.Log[] memory logs = VM.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] != PolicyChanged.selector) continue;
            book[logs[i].topics[2]][logs[i].topics[3]] = abi.decode(logs[i].data, (bool));
        }
    }

    function callEither(uint8 what, bytes32 value) private returns (bool done) {
        (address target, bytes memory data) = pick(what % 14, value);
        (done,) = target.call(data);
    }

    function pick(uint8 what, bytes32 value) private view returns (address, bytes memory) {
        if (what == 0) return (address(KMS), abi.encodeCall(DstackKms.addKmsAggregatedMr, (value)));
        if (what == 1) return (address(KMS), abi.encodeCall(DstackKms.removeKmsAggregatedMr, (value)));
        if (what == 2) return (address(KMS), abi.encodeCall(DstackKms.addKmsDevice, (value)));
        if (what == 3) return (address(KMS), abi.encodeCall(DstackKms.removeKmsDevice, (value)));
        if (what == 4) return (address(KMS), abi.encodeCall(DstackKms.addOsImageHash, (value)));
        if (what == 5) return (address(KMS), abi.encodeCall(DstackKms.removeOsImageHash, (value)));
        if (what == 6) return (address(APP), abi.encodeCall(DstackApp.addComposeHash, (value)));
        if (what == 7) return (address(APP), abi.encodeCall(DstackApp.removeComposeHash, (value)));
        if (what == 8) return (address(APP), abi.encodeCall(DstackApp.addDevice, (value)));
        if (what == 9) return (address(APP), abi.encodeCall(DstackApp.removeDevice, (value)));
        if (what == 10) return (address(APP), abi.encodeCall(DstackApp.setAllowAnyDevice, (uint256(value) % 2 == 0)));
        if (what == 11) return (address(KMS), abi.encodeCall(DstackKms.revokeApp, (address(APP))));
        if (what == 12) return (address(KMS), abi.encodeCall(DstackKms.restoreApp, (address(APP))));
        return (address(APP), abi.encodeCall(DstackApp.disableUpgrades, ()));
    }
}

contract InvariantTest is TestBase {
    DstackKms private kms;
    DstackApp private app;
    Operators private operators;

    function setUp() public {
        kms = newKms(address(0));
        app = newApp(false, false, 0, 0);
        kms.registerApp(address(app));
        operators = new Operators(kms, app);
    }

    /// forge calls only what this names.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(operators);
    }

    function invariant_OwnersStay() public view {
        assertEq(kms.owner(), OWNER);
        assertEq(app.owner(), OWNER);
    }

    /// Whoever reads the audit events alone knows every list.
    function invariant_EventsTellTheState() public view {
        for (uint256 i = 0; i < 4; i++) {
            bytes32 value = bytes32(i);
            check(kms.kmsAllowedAggregatedMrs(value) == operators.book(keccak256("kms-aggregated-mr"), value), "MRs");
            check(kms.kmsAllowedDeviceIds(value) == operators.book(keccak256("kms-device"), value), "KMS devices");
            check(kms.allowedOsImages(value) == operators.book(keccak256("os-image"), value), "images");
            check(app.allowedComposeHashes(value) == operators.book(keccak256("compose-hash"), value), "hashes");
            check(app.allowedDeviceIds(value) == operators.book(keccak256("device"), value), "devices");
        }
        check(app.allowAnyDevice() == operators.book(keccak256("allow-any-device"), 0), "any device");
        check(kms.revokedApps(address(app)) == operators.book(keccak256("revoked-app"), word(address(app))), "revoked");
    }

    /// Nothing boots but what every rule admits.
    function invariant_DecisionsFollowTheLists() public view {
        for (uint256 i = 0; i < 4; i++) {
            IAppAuth.AppBootInfo memory info = bootInfo();
            info.appId = address(app);
            info.osImageHash = bytes32(i);
            info.composeHash = bytes32((i + 1) % 4);
            info.deviceId = bytes32((i + 2) % 4);
            info.mrAggregated = bytes32((i + 3) % 4);
            (bool appAllowed,) = kms.isAppAllowed(info);
            (bool kmsAllowed,) = kms.isKmsAllowed(info);
            check(
                appAllowed
                    == (!kms.revokedApps(address(app)) && kms.allowedOsImages(info.osImageHash)
                            && app.allowedComposeHashes(info.composeHash)
                            && (app.allowAnyDevice() || app.allowedDeviceIds(info.deviceId))),
                "app decision"
            );
            check(
                kmsAllowed
                    == (kms.allowedOsImages(info.osImageHash) && kms.kmsAllowedAggregatedMrs(info.mrAggregated)
                            && kms.kmsAllowedDeviceIds(info.deviceId)),
                "KMS decision"
            );
        }
    }

    function invariant_LockedCodeStaysLocked() public view {
        bool lockedNow = uint256(VM.load(address(app), bytes32(uint256(1)))) & 0xff == 1;
        check(lockedNow == operators.locked(), "the lock does not match");
    }
}
