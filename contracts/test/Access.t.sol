// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {DstackApp} from "../src/DstackApp.sol";
import {DstackKms} from "../src/DstackKms.sol";
import {IAppInitializer} from "../src/interfaces/IAppInitializer.sol";
import {TestBase} from "./support/TestBase.sol";

/// @dev Each function that changes something, by each kind of caller.
contract AccessTest is TestBase {
    DstackKms private kms;
    DstackApp private app;
    address[] private outsiders;

    function setUp() public {
        kms = newKms(address(new DstackApp()));
        app = newApp(false, false, 0, 0);
        kms.registerApp(address(app));
        VM.prank(OWNER);
        kms.transferOwnership(HEIR);
        VM.prank(OWNER);
        app.transferOwnership(HEIR);
        // A stranger, one who is to become owner but is not yet, nobody, the contracts themselves, this one.
        outsiders = [STRANGER, HEIR, address(0), address(kms), address(app), address(this)];
    }

    function kmsOwnerCalls() private returns (bytes[] memory calls) {
        calls = new bytes[](15);
        calls[0] = abi.encodeCall(DstackKms.setKmsInfo, (DstackKms.KmsInfo(hex"01", "", "", "")));
        calls[1] = abi.encodeCall(DstackKms.setKmsQuote, (hex"01"));
        calls[2] = abi.encodeCall(DstackKms.setKmsEventlog, (hex"01"));
        calls[3] = abi.encodeCall(DstackKms.setGatewayAppId, ("any"));
        calls[4] = abi.encodeCall(DstackKms.setAppImplementation, (address(new DstackApp())));
        calls[5] = abi.encodeCall(DstackKms.addKmsAggregatedMr, (bytes32(uint256(1))));
        calls[6] = abi.encodeCall(DstackKms.removeKmsAggregatedMr, (bytes32(uint256(1))));
        calls[7] = abi.encodeCall(DstackKms.addKmsDevice, (bytes32(uint256(1))));
        calls[8] = abi.encodeCall(DstackKms.removeKmsDevice, (bytes32(uint256(1))));
        calls[9] = abi.encodeCall(DstackKms.addOsImageHash, (bytes32(uint256(1))));
        calls[10] = abi.encodeCall(DstackKms.removeOsImageHash, (bytes32(uint256(1))));
        calls[11] = abi.encodeCall(DstackKms.revokeApp, (address(app)));
        calls[12] = abi.encodeCall(DstackKms.restoreApp, (address(app)));
        calls[13] = abi.encodeCall(kms.upgradeToAndCall, (address(new DstackKms()), ""));
        calls[14] = abi.encodeCall(kms.transferOwnership, (STRANGER));
    }

    function appOwnerCalls() private returns (bytes[] memory calls) {
        calls = new bytes[](9);
        calls[0] = abi.encodeCall(DstackApp.addComposeHash, (bytes32(uint256(1))));
        calls[1] = abi.encodeCall(DstackApp.removeComposeHash, (bytes32(uint256(1))));
        calls[2] = abi.encodeCall(DstackApp.addDevice, (bytes32(uint256(1))));
        calls[3] = abi.encodeCall(DstackApp.removeDevice, (bytes32(uint256(1))));
        calls[4] = abi.encodeCall(DstackApp.setAllowAnyDevice, (true));
        calls[5] = abi.encodeCall(DstackApp.setRequireTcbUpToDate, (true));
        calls[6] = abi.encodeCall(app.upgradeToAndCall, (address(new DstackApp()), ""));
        calls[7] = abi.encodeCall(DstackApp.disableUpgrades, ());
        calls[8] = abi.encodeCall(app.transferOwnership, (STRANGER));
    }

    function assertOwnerOnly(address target, bytes[] memory calls) private {
        for (uint256 i = 0; i < calls.length; i++) {
            for (uint256 j = 0; j < outsiders.length; j++) {
                VM.recordLogs();
                VM.prank(outsiders[j]);
                // forge-lint: disable-next-line(unchecked-call)
                (bool done, bytes memory answer) = target.call(calls[i]);
                check(!done, "an outsider got through");
                assertEq(answer, abi.encodeWithSelector(OwnableUnauthorizedAccount.selector, outsiders[j]));
                check(VM.getRecordedLogs().length == 0, "a refused call left an event");
            }
            VM.prank(OWNER);
            (bool allowed,) = target.call(calls[i]);
            check(allowed, "the owner was refused");
        }
    }

    function test_OnlyTheOwnerGovernsTheKms() public {
        assertOwnerOnly(address(kms), kmsOwnerCalls());
    }

    function test_OnlyTheOwnerGovernsAnApp() public {
        assertOwnerOnly(address(app), appOwnerCalls());
    }

    function test_OwnershipPassesInTwoSteps() public {
        assertEq(kms.owner(), OWNER);
        assertEq(kms.pendingOwner(), HEIR);
        expectNotOwner(STRANGER);
        VM.prank(STRANGER);
        kms.acceptOwnership();
        expectNotOwner(OWNER);
        VM.prank(OWNER);
        kms.acceptOwnership();
        VM.prank(HEIR);
        kms.acceptOwnership();
        assertEq(kms.owner(), HEIR);
        assertEq(kms.pendingOwner(), address(0));
        expectNotOwner(OWNER);
        VM.prank(OWNER);
        kms.addOsImageHash(bytes32(uint256(1)));
        VM.prank(HEIR);
        kms.addOsImageHash(bytes32(uint256(1)));
    }

    function test_OnlyTheLastHeirMayAccept() public {
        VM.prank(OWNER);
        app.transferOwnership(STRANGER);
        expectNotOwner(HEIR);
        VM.prank(HEIR);
        app.acceptOwnership();
        VM.prank(STRANGER);
        app.acceptOwnership();
        assertEq(app.owner(), STRANGER);
    }

    function test_RenouncedMeansNobody() public {
        VM.prank(OWNER);
        app.renounceOwnership();
        assertEq(app.owner(), address(0));
        assertOwnerOnlyByNobody(appOwnerCalls());
    }

    function assertOwnerOnlyByNobody(bytes[] memory calls) private {
        for (uint256 i = 0; i < calls.length; i++) {
            VM.prank(OWNER);
            (bool done,) = address(app).call(calls[i]);
            check(!done, "a former owner got through");
        }
    }

    /// The code itself, without a proxy, belongs to nobody and cannot be made to belong to anybody.
    function test_BareCodeIsDead() public {
        DstackApp code = new DstackApp();
        VM.expectRevert(abi.encodeWithSignature("UUPSUnauthorizedCallContext()"));
        code.upgradeToAndCall(address(code), "");
        VM.expectRevert(abi.encodeWithSignature("InvalidInitialization()"));
        IAppInitializer(address(code)).initialize(STRANGER, false, false, true, 0, 0);
    }

    /// No call by a stranger, to any of these functions or any other and with any data, moves ownership or policy.
    function testFuzz_NobodyElseTakesOver(address caller, uint8 pick, bytes4 other, bytes calldata data) public {
        VM.assume(caller != OWNER && caller != HEIR);
        bytes4[8] memory known =
            [bytes4(0xf2fde38b), 0x715018a6, 0x79ba5097, 0x4f1ef286, 0x485cc955, 0x9ed28193, 0x187515ca, 0x7c4beeb8];
        bytes memory call = abi.encodePacked(pick < 200 ? known[pick % 8] : other, data);
        // Some succeed, such as views; what counts is what they leave behind.
        VM.prank(caller);
        callAny(address(kms), call);
        VM.prank(caller);
        callAny(address(app), call);
        assertEq(kms.owner(), OWNER);
        assertEq(kms.pendingOwner(), HEIR);
        assertEq(app.owner(), OWNER);
        assertEq(app.pendingOwner(), HEIR);
        check(!app.allowAnyDevice(), "policy changed");
    }

    function callAny(address target, bytes memory data) private returns (bool done) {
        (done,) = target.call(data);
    }
}
