// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {DstackApp} from "../src/DstackApp.sol";
import {DstackKms} from "../src/DstackKms.sol";
import {IAppAuth} from "../src/interfaces/IAppAuth.sol";
import {PreviousApp, PreviousKms} from "./support/PreviousLayouts.sol";
import {TestBase} from "./support/TestBase.sol";

/// @dev Proxies of earlier releases, upgraded in place.
contract UpgradeTest is TestBase {
    bytes32 private constant DEVICE = hex"4444444444444444444444444444444444444444444444444444444444444444";
    bytes32 private constant HASH = hex"2222222222222222222222222222222222222222222222222222222222222222";
    bytes32 private constant MR = hex"5555555555555555555555555555555555555555555555555555555555555555";
    bytes32 private constant IMAGE = hex"7777777777777777777777777777777777777777777777777777777777777777";
    address private appProxy;
    address private kmsProxy;
    address private appCode;
    address private kmsCode;

    function setUp() public {
        appCode = address(new DstackApp());
        kmsCode = address(new DstackKms());
        appProxy = address(
            new ERC1967Proxy(
                address(new PreviousApp()), abi.encodeCall(PreviousApp.initialize, (OWNER, false, true, DEVICE, HASH))
            )
        );
        kmsProxy = address(
            new ERC1967Proxy(address(new PreviousKms()), abi.encodeCall(PreviousKms.initialize, (OWNER, HEIR)))
        );
        VM.prank(OWNER);
        PreviousKms(kmsProxy)
            .fill(
                PreviousKms.KmsInfo(hex"01", hex"02", new bytes(100), hex"04"), "gateway", appProxy, MR, DEVICE, IMAGE
            );
    }

    function upgradeBoth() private {
        VM.prank(OWNER);
        DstackApp(appProxy).upgradeToAndCall(appCode, "");
        VM.prank(OWNER);
        DstackKms(kmsProxy).upgradeToAndCall(kmsCode, "");
    }

    function test_NothingIsLost() public {
        upgradeBoth();
        DstackKms kms = DstackKms(kmsProxy);
        (bytes memory k256, bytes memory ca, bytes memory quote, bytes memory eventlog) = kms.kmsInfo();
        assertEq(k256, hex"01");
        assertEq(ca, hex"02");
        assertEq(quote, new bytes(100));
        assertEq(eventlog, hex"04");
        assertEq(kms.gatewayAppId(), "gateway");
        assertEq(kms.owner(), OWNER);
        assertEq(kms.pendingOwner(), address(0));
        assertEq(kms.appImplementation(), HEIR);
        check(
            kms.registeredApps(appProxy) && kms.kmsAllowedAggregatedMrs(MR) && kms.kmsAllowedDeviceIds(DEVICE)
                && kms.allowedOsImages(IMAGE),
            "the KMS lost an entry"
        );
        check(!kms.revokedApps(appProxy), "an app is revoked");
        DstackApp app = DstackApp(appProxy);
        assertEq(app.owner(), OWNER);
        check(
            app.allowedComposeHashes(HASH) && app.allowedDeviceIds(DEVICE) && app.allowAnyDevice(),
            "the app lost an entry"
        );
        check(!app.requireTcbUpToDate(), "the TCB rule came on by itself");
        IAppAuth.AppBootInfo memory info = bootInfo();
        info.appId = appProxy;
        info.composeHash = HASH;
        info.osImageHash = IMAGE;
        (bool allowed, string memory reason) = kms.isAppAllowed(info);
        assertDecision(allowed, reason, true, "");
    }

    /// The places that deployed proxies use, word by word.
    function test_StorageIsWhereItWas() public {
        upgradeBoth();
        assertEq(VM.load(kmsProxy, elementSlot(MR, 6)), bytes32(uint256(1)));
        assertEq(
            VM.load(kmsProxy, 0x997814a8dbcfc80fb0f6dda6d3c0a900e79133dccedb43893f25a79ea7ec8e96), bytes32(uint256(1))
        );
        assertEq(
            VM.load(kmsProxy, 0x24597913804a270af9f1c36212d428351b5da882653771a5462b13127fb2a975), bytes32(uint256(1))
        );
        assertEq(
            VM.load(kmsProxy, 0xe70d9026481de3a93d2fd0ce44a3f28fe799ba0e4d211ce2c6ac451712802838), bytes32(uint256(1))
        );
        assertEq(VM.load(kmsProxy, elementSlot(word(appProxy), 5)), bytes32(uint256(1)));
        assertEq(VM.load(kmsProxy, bytes32(uint256(9))), word(HEIR));
        assertEq(
            VM.load(appProxy, 0x3ce992a2ff7a827e1758bb768873236a5a08de2ac7550ad6d6e12be43dde299e), bytes32(uint256(1))
        );
        assertEq(
            VM.load(appProxy, 0x2a52ee33112956f6929251b64cf87b3e2f4e3d50de77ec77a12f6649062991ed), bytes32(uint256(1))
        );
        assertEq(VM.load(appProxy, bytes32(uint256(1))), bytes32(uint256(0x0100)));
        VM.prank(OWNER);
        DstackApp(appProxy).setRequireTcbUpToDate(true);
        assertEq(VM.load(appProxy, bytes32(uint256(3))), bytes32(uint256(1)));
        VM.prank(OWNER);
        DstackApp(appProxy).disableUpgrades();
        assertEq(VM.load(appProxy, bytes32(uint256(1))), bytes32(uint256(0x0101)));
    }

    function test_RevocationTouchesNoOldSlot() public {
        upgradeBoth();
        bytes32[] memory before = words(kmsProxy);
        VM.prank(OWNER);
        DstackKms(kmsProxy).revokeApp(appProxy);
        bytes32[] memory now_ = words(kmsProxy);
        for (uint256 i = 0; i < before.length; i++) {
            assertEq(before[i], now_[i]);
        }
        bytes32 namespace =
            keccak256(abi.encode(uint256(keccak256("dstack.storage.AppRevocation")) - 1)) & ~bytes32(uint256(0xff));
        assertEq(VM.load(kmsProxy, keccak256(abi.encode(appProxy, namespace))), bytes32(uint256(1)));
    }

    function words(address proxy) private view returns (bytes32[] memory all) {
        all = new bytes32[](64);
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = VM.load(proxy, bytes32(i));
        }
    }

    function test_TheTcbRuleWorksAfterwards() public {
        upgradeBoth();
        DstackApp app = DstackApp(appProxy);
        VM.prank(OWNER);
        app.setRequireTcbUpToDate(true);
        IAppAuth.AppBootInfo memory info = bootInfo();
        info.composeHash = HASH;
        info.tcbStatus = "OutOfDate";
        (bool allowed, string memory reason) = app.isAppAllowed(info);
        assertDecision(allowed, reason, false, "TCB status is not up to date");
        VM.prank(OWNER);
        app.setRequireTcbUpToDate(false);
        (allowed, reason) = app.isAppAllowed(info);
        assertDecision(allowed, reason, true, "");
    }

    function test_AnUpgradedProxyIsNotInitializedAgain() public {
        upgradeBoth();
        VM.expectRevert(abi.encodeWithSignature("InvalidInitialization()"));
        DstackApp(appProxy).initialize(STRANGER, false, false, 0, 0);
        VM.expectRevert(abi.encodeWithSignature("InvalidInitialization()"));
        DstackKms(kmsProxy).initialize(STRANGER, HEIR);
    }

    function test_UpgradeAndCallInOneTransaction() public {
        upgradeBoth();
        address next = address(new DstackKms());
        expectAudit(kmsProxy, OWNER, "implementation-upgrade", word(next), true);
        VM.prank(OWNER);
        DstackKms(kmsProxy).upgradeToAndCall(next, abi.encodeCall(DstackKms.setGatewayAppId, ("new")));
        assertEq(DstackKms(kmsProxy).gatewayAppId(), "new");
        assertEq(VM.load(kmsProxy, IMPLEMENTATION_SLOT), word(next));
    }

    function test_StrangersUpgradeNothing() public {
        upgradeBoth();
        address next = address(new DstackApp());
        expectNotOwner(STRANGER);
        VM.prank(STRANGER);
        DstackApp(appProxy).upgradeToAndCall(next, "");
        expectNotOwner(STRANGER);
        VM.prank(STRANGER);
        DstackKms(kmsProxy).upgradeToAndCall(next, "");
    }

    function test_OnlyUpgradeableCodeIsTaken() public {
        upgradeBoth();
        VM.expectRevert(abi.encodeWithSignature("ERC1967InvalidImplementation(address)", address(this)));
        VM.prank(OWNER);
        DstackApp(appProxy).upgradeToAndCall(address(this), "");
    }
}
